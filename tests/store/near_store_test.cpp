// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/near_store.hpp"

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/pack/pack.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {
namespace {

/// A far store that counts what is read from it, and a near one in front of it.
struct Stores {
  Stores() { reopen(); }
  void reopen() {
    near.reset();
    const auto count = [this](std::string_view operation, std::string_view, bool done) {
      if (!done && operation.starts_with("get")) ++reads;
    };
    near = make_near_store(std::make_unique<HookedStore>(far, count),
                           DiskCache::open(folder / "cache", kDiskCacheBytesMin));
  }
  [[nodiscard]] Bytes range(std::string_view key, std::uint64_t offset, std::size_t bytes) const {
    Bytes into(bytes);
    near->get_range(key, offset, into);
    return into;
  }

  TempDir folder;
  std::shared_ptr<MemoryStoreContents> contents = std::make_shared<MemoryStoreContents>();
  std::shared_ptr<MemoryStore> far = std::make_shared<MemoryStore>(contents);
  std::unique_ptr<Store> near;
  int reads = 0;
};

}  // namespace

TEST_CASE("immutable values come from far away once, also when the server was restarted") {
  Stores stores;
  const Bytes value = random_bytes(1, 100'000);
  const std::string key = fmt::format("maps/ab/{}.map", sha256(value).hex());
  stores.far->put_if_absent(key, value);
  stores.far->put_if_absent("packs/ab/abcd.pack", value);
  for (int round = 0; round < 3; ++round) {
    CHECK(stores.near->get(key, 1 << 20) == value);
    CHECK(stores.range("packs/ab/abcd.pack", 100, 5000) == Bytes(value.begin() + 100, value.begin() + 5100));
    CHECK(stores.reads == 2);
    stores.reopen();
  }
  CHECK(stores.range("packs/ab/abcd.pack", 100, 5001).size() == 5001);
  CHECK(stores.reads == 3);
}

TEST_CASE("what changes is asked for each time, and so is what is not what its name says") {
  Stores stores;
  stores.far->put_if_absent("refs/web/v1", as_byte_view("one"));
  stores.far->put_if_absent("maps/ab/abcd.map", as_byte_view("not what it says"));
  for (int round = 0; round < 2; ++round) {
    (void)stores.near->get("refs/web/v1", 100);
    (void)stores.near->get("maps/ab/abcd.map", 100);
  }
  CHECK(stores.reads == 4);
}

TEST_CASE("a frame that was damaged when it was copied is read anew when it has been mended") {
  Stores stores;
  const Bytes raw = random_bytes(3, 50'000);
  EncodedFrame frame = encode_frame(ObjectClass::kOpaque, 1, raw, 1);
  const FrameDigest digest = frame.digest;
  const auto bytes = static_cast<std::uint32_t>(frame.stored.size());
  const ObjectRecord object{ObjectDigest(sha256(raw)), static_cast<std::uint32_t>(raw.size())};
  PackBuilder pack(*stores.far);
  const std::uint64_t offset = pack.add(std::move(frame), std::span(&object, 1));
  const FrameLocation location{pack.finish(), offset, bytes};

  auto& stored = stores.contents->values.at(pack_key(location.pack)).bytes;
  const auto good = stored;
  Bytes bad = *good;
  bad[offset + bytes / 2] ^= std::byte{1};
  stored = std::make_shared<const Bytes>(bad);
  CHECK_THROWS_AS(read_frame(*stores.near, digest, location), Error);
  stored = good;
  CHECK(read_frame(*stores.near, digest, location)->bytes.size() >= raw.size());
  stored = std::make_shared<const Bytes>(bad);
  CHECK(read_frame(*stores.near, digest, location)->bytes.size() >= raw.size());  // from the copy
}

}  // namespace vmpack::test
