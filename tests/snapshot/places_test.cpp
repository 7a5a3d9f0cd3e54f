// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/places.hpp"

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

const SnapshotDigest kSnapshot(sha256(Bytes(9)));

std::vector<FramePlace> some_places(std::uint32_t count) {
  std::vector<FramePlace> places;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t pack = i % 7;
    places.push_back(
        {FrameDigest(sha256(struct_bytes(i))), {PackDigest(sha256(struct_bytes(pack))), i * 1000ULL, i + 1}});
  }
  return places;
}

}  // namespace

TEST_CASE("every frame is found where it lies, and no other") {
  for (const std::uint32_t count : {0U, 1U, 511U, 512U, 513U, 5000U}) {
    const test::TempDir folder;
    const auto store = open_directory_store(folder.path());
    const auto places = some_places(count);
    store->put_if_absent(places_key(kSnapshot), encode_places(kSnapshot, places));
    const auto opened = Places::open(*store, kSnapshot);
    CHECK(opened->count() == count);
    for (const FramePlace& place : places) {
      REQUIRE(opened->find(place.frame) == std::vector{place.location});
    }
    CHECK(opened->find(FrameDigest(sha256(Bytes(100)))).empty());
  }
}

TEST_CASE("frames whose digests begin alike are all told, also over a block's border") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  auto places = some_places(500);
  FrameDigest same = places[3].frame;
  for (std::uint32_t i = 0; i < 600; ++i) {
    same.bytes[20] = static_cast<std::uint8_t>(i);
    same.bytes[21] = static_cast<std::uint8_t>(i >> 8U);
    places.push_back({same, {PackDigest(sha256(Bytes(1))), 1'000'000ULL + i, 5}});
  }
  store->put_if_absent(places_key(kSnapshot), encode_places(kSnapshot, places));
  CHECK(Places::open(*store, kSnapshot)->find(same).size() == 601);
}

TEST_CASE("one changed byte anywhere in a places file is found") {
  const Bytes good = encode_places(kSnapshot, some_places(600));
  for (std::size_t at = 0; at < good.size(); at += 11) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x20};
    const test::TempDir folder;
    const auto store = open_directory_store(folder.path());
    store->put_if_absent(places_key(kSnapshot), bad);
    const Error error = error_of(
        [&] { Places::open(*store, kSnapshot)->for_each([](std::uint64_t, const FrameLocation&) {}); });
    CHECK(error.code() != ErrorCode::kIo);
  }
}

TEST_CASE("a file that is replaced while it is open is read anew") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  store->put_if_absent(places_key(kSnapshot), encode_places(kSnapshot, some_places(5000)));
  const auto opened = Places::open(*store, kSnapshot);
  const auto more = some_places(9000);
  CHECK(opened->find(more[1].frame).size() == 1);
  const auto stat = store->stat(places_key(kSnapshot));
  REQUIRE(stat);
  REQUIRE(store->replace_if_version(places_key(kSnapshot), encode_places(kSnapshot, more), stat->version));
  for (std::size_t i = 0; i < 5000; ++i)
    REQUIRE(opened->find(more[i].frame) == std::vector{more[i].location});
  std::uint64_t count = 0;
  opened->for_each([&](std::uint64_t, const FrameLocation&) { ++count; });
  CHECK(count == more.size());
}
