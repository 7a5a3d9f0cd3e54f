// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index.hpp"

#include <catch2/catch.hpp>

#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

ObjectDigest object_digest(std::uint32_t number) { return ObjectDigest(sha256(struct_bytes(number))); }

/// What the frame of objects from `first` on stands on: two others, one, or nothing.
std::vector<FramePlace> bases_of(std::uint32_t first) {
  std::vector<FramePlace> bases;
  for (std::uint32_t i = 0; i < first / 4 % 3; ++i) {
    const Digest digest = sha256(struct_bytes(first + i));
    bases.push_back({FrameDigest(digest), {PackDigest(digest), first * 1000ULL + i, 77 + i}});
  }
  return bases;
}

void write_index(Store& store, std::uint32_t first, std::uint32_t count) {
  ObjectIndexBuilder builder;
  builder.add_pack(PackDigest(sha256(struct_bytes(first))));
  for (std::uint32_t i = 0; i < count; i += 4) {
    std::vector<ObjectRecord> objects;
    for (std::uint32_t k = i; k < std::min(count, i + 4); ++k)
      objects.push_back({object_digest(first + k), 100 + k % 400});
    builder.add_frame(FrameDigest(sha256(struct_bytes(i))), 16 + i * 1000ULL, 900, objects, bases_of(i));
  }
  builder.write(store);
}

}  // namespace

TEST_CASE("every object is found in its frame, in whichever file of the index, and no other") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  write_index(*store, 0, 3000);
  write_index(*store, 100'000, 1);
  write_index(*store, 200'000, 257);
  const auto index = ObjectIndex::open(*store);
  CHECK(index->object_count() == 3258);
  for (const std::uint32_t first : {0U, 100'000U, 200'000U}) {
    const std::uint32_t count = first == 0 ? 3000 : first == 100'000 ? 1 : 257;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto found = index->find(object_digest(first + i));
      REQUIRE(found);
      CHECK(found->location.pack == PackDigest(sha256(struct_bytes(first))));
      CHECK(found->location.offset == 16 + (i / 4 * 4) * 1000ULL);
      CHECK(found->offset == i % 4 * 512);
      CHECK(found->bytes == 100 + i % 400);
      const std::vector<FramePlace> bases = bases_of(i / 4 * 4);
      REQUIRE(found->bases.size() == bases.size());
      for (std::size_t k = 0; k < bases.size(); ++k) {
        CHECK(found->bases[k].frame == bases[k].frame);
        CHECK(found->bases[k].location == bases[k].location);
      }
    }
  }
  for (std::uint32_t i = 0; i < 3000; ++i) CHECK_FALSE(index->find(object_digest(500'000 + i)));
}

TEST_CASE("a changed byte is found before it can give a wrong place") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  write_index(*store, 0, 600);
  const std::string file = test::files_below(folder / "index").at(0);
  const std::string path = folder / ("index/" + file);
  const Bytes good = test::read_file(path);
  for (std::size_t at = 0; at < good.size(); at += 101) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x40};
    test::write_file(path, bad);
    const auto damaged_store = open_directory_store(folder.path());
    try {
      const auto index = ObjectIndexFile::open(*damaged_store, "index/" + file);
      for (std::uint32_t i = 0; i < 600; ++i) {
        const auto found = index->find(object_digest(i));
        if (found) REQUIRE(found->bytes == 100 + i % 400);
      }
      CHECK(index->digest() != *Digest::from_hex(file.substr(0, 64)));
    } catch (const Error& error) {
      CHECK(error.code() != ErrorCode::kIo);
    }
  }
}

TEST_CASE("what lies in excluded packs, or stands on what lies there, counts as absent") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  write_index(*store, 0, 3000);
  write_index(*store, 1000, 3000);  // the same objects from 1000 on in another pack
  const PackDigest first(sha256(struct_bytes(std::uint32_t{0})));
  const PackDigest base = bases_of(4).front().location.pack;
  const auto index = ObjectIndex::open(*store, {first, base});
  CHECK_FALSE(index->find(object_digest(0)));
  CHECK_FALSE(index->find(object_digest(999)));
  const auto found = index->find(object_digest(1500));
  REQUIRE(found);
  CHECK(found->location.pack == PackDigest(sha256(struct_bytes(std::uint32_t{1000}))));
  CHECK_FALSE(index->find(object_digest(1004)));
}

TEST_CASE("an open index takes in new files, and lets go of those that were removed") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  write_index(*store, 0, 10);
  const std::string old_key = list_index_files(*store).at(0);
  const auto index = ObjectIndex::open(*store);
  write_index(*store, 100, 10);
  CHECK_FALSE(index->find(object_digest(100)));
  index->refresh();
  CHECK(index->find(object_digest(100)));
  CHECK(index->find(object_digest(0)));
  store->remove(old_key);
  CHECK(index->find(object_digest(0)));  // it is mapped
  index->refresh();
  CHECK_FALSE(index->find(object_digest(0)));
  CHECK(index->object_count() == 10);
}

TEST_CASE("a filter never denies what was inserted, and seldom takes in what was not") {
  for (const std::uint32_t count : {1U, 2U, 100U, 3001U, 300'000U}) {
    INFO(count);
    std::vector<std::uint64_t> words = make_filter(count);
    for (std::uint32_t i = 0; i < count; ++i) filter_insert(words, object_digest(i));
    const ObjectFilter filter(words);
    std::uint32_t denied = 0;
    std::uint32_t wrong = 0;
    for (std::uint32_t i = 0; i < count; ++i)
      denied += filter.may_contain(FilterKey(object_digest(i))) ? 0 : 1;
    for (std::uint32_t i = 0; i < 20'000; ++i)
      wrong += filter.may_contain(FilterKey(object_digest(1'000'000 + i))) ? 1 : 0;
    CHECK(denied == 0);
    CHECK(wrong < (count < 300'000 ? 40 : 400));
  }
}

TEST_CASE("many objects are found at once as one by one, in the first file that has them") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  for (std::uint32_t first = 0; first < 200; first += 20) write_index(*store, first, 40);
  const auto index = ObjectIndex::open(*store, {PackDigest(sha256(struct_bytes(std::uint32_t{40})))});
  std::vector<ObjectDigest> objects;
  for (std::uint32_t i = 0; i < 300; ++i) objects.push_back(object_digest(i));
  const auto found = index->find(objects);
  REQUIRE(found.size() == objects.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto alone = index->find(objects[i]);
    REQUIRE(found[i].has_value() == alone.has_value());
    if (alone) CHECK(found[i]->location == alone->location);
  }
  CHECK(found[0]);
  CHECK_FALSE(found[299]);
}
