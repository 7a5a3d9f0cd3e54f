// SPDX-License-Identifier: Apache-2.0
// Copies of a remote store's index files: fetched once, checked, and gone with their originals.
#include "libvmpack/repo/index_cache.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "libvmpack/repo/object_index.hpp"
#include "tests/support/files.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

ObjectDigest object(std::uint32_t number) { return ObjectDigest(sha256(struct_bytes(number))); }

std::string write_index(Store& store, std::uint32_t first, std::uint32_t count) {
  ObjectIndexBuilder builder;
  builder.add_pack(PackDigest(object(first)));
  for (std::uint32_t i = first; i < first + count; ++i) {
    const ObjectRecord record{object(i), 1000};
    builder.add_frame(FrameDigest(object(~i)), 16 + i * 5000ULL, 900, std::span(&record, 1), {});
  }
  return index_key(builder.write(store));
}

/// A store that counts how often index files are read.
struct Remote {
  std::shared_ptr<test::MemoryStore> memory = std::make_shared<test::MemoryStore>();
  std::atomic<int> reads = 0;
  test::HookedStore store{memory, [this](std::string_view operation, std::string_view key, bool done) {
                            if (operation == "get" && key.starts_with("index/") && !done) ++reads;
                          }};
};

}  // namespace

TEST_CASE("an index file of a remote store is fetched once, by whoever needs it first") {
  const test::TempDir folder;
  Remote remote;
  write_index(remote.store, 0, 500);
  CHECK(ObjectIndex::open(remote.store, {}, folder / "cache")->find(object(77)));
  CHECK(remote.reads == 1);
  write_index(remote.store, 1000, 500);
  const auto index = ObjectIndex::open(remote.store, {}, folder / "cache");
  CHECK(remote.reads == 2);
  CHECK(index->find(object(77)));
  CHECK(index->find(object(1077)));
  CHECK(cached_index_bytes(folder / "cache") > 1000 * 48);
}

TEST_CASE("a copy that was damaged or cut short is fetched again") {
  const test::TempDir folder;
  Remote remote;
  const std::string key = write_index(remote.store, 0, 500);
  static_cast<void>(ObjectIndex::open(remote.store, {}, folder / "cache"));
  const std::string copy = folder / ("cache/" + key);
  Bytes bytes = test::read_file(copy);
  SECTION("damaged") { bytes[100] ^= std::byte{1}; }
  SECTION("cut short") { bytes.resize(1000); }
  test::write_file(copy, bytes);
  CHECK(ObjectIndex::open(remote.store, {}, folder / "cache")->find(object(499)));
  CHECK(remote.reads == 2);
}

TEST_CASE("copies of files that are gone from the store are removed") {
  const test::TempDir folder;
  Remote remote;
  const std::string old_key = write_index(remote.store, 0, 10);
  static_cast<void>(ObjectIndex::open(remote.store, {}, folder / "cache"));
  CHECK(std::filesystem::exists(folder / ("cache/" + old_key)));
  remote.store.remove(old_key);
  write_index(remote.store, 100, 10);
  const auto index = ObjectIndex::open(remote.store, {}, folder / "cache");
  CHECK_FALSE(std::filesystem::exists(folder / ("cache/" + old_key)));
  CHECK(index->object_count() == 10);
}

TEST_CASE("what comes damaged from the store is refused, and nothing of it is kept") {
  const test::TempDir folder;
  Remote remote;
  const std::string key = write_index(remote.store, 0, 500);
  auto& value = remote.memory->contents().values.at(key);
  Bytes bytes = *value.bytes;
  bytes[bytes.size() / 2] ^= std::byte{1};
  value.bytes = std::make_shared<Bytes>(bytes);
  const Error error = error_of([&] { ObjectIndex::open(remote.store, {}, folder / "cache"); });
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK(std::string(error.what()).find(key) != std::string::npos);
  CHECK(cached_index_bytes(folder / "cache") == 0);
}

TEST_CASE("many may fill one cache at once") {
  const test::TempDir folder;
  Remote remote;
  for (std::uint32_t i = 0; i < 20; ++i) write_index(remote.store, i * 1000, 50);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const auto index = ObjectIndex::open(remote.store, {}, folder / "cache");
      if (index->object_count() != 1000 || !index->find(object(19'049))) std::abort();
    });
  }
}
