// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/pack/pack.hpp"

#include <catch2/catch.hpp>

#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;
using vmpack::test::random_bytes;

namespace {

struct SmallPack {
  test::TempDir folder;
  std::unique_ptr<Store> store = open_directory_store(folder.path());
  std::vector<Bytes> objects = {random_bytes(1, 700), random_bytes(2, 512), random_bytes(3, 5000)};
  std::vector<ObjectRecord> records;
  FrameDigest first_frame;
  PackDigest digest;

  SmallPack() {
    PackBuilder builder(*store);
    Bytes raw;
    for (const Bytes& object : objects) {
      records.push_back({ObjectDigest(sha256(object)), static_cast<std::uint32_t>(object.size())});
      append(raw, object);
      raw.resize(next_object_offset(raw.size(), 0));
    }
    EncodedFrame frame = encode_frame(ObjectClass::kData, 3, raw, 3);
    first_frame = frame.digest;
    builder.add(std::move(frame), records);
    builder.add(encode_frame(ObjectClass::kText, 1, Bytes(512), 3),
                std::vector{ObjectRecord{ObjectDigest(sha256(Bytes(10))), 10}});
    digest = builder.finish();
  }
};

}  // namespace

TEST_CASE("a pack tells which frames and objects it holds, and gives them back") {
  const SmallPack pack;
  const PackTables tables = read_pack_tables(*pack.store, pack.digest);
  REQUIRE(tables.frames.size() == 2);
  REQUIRE(tables.objects.size() == 4);
  CHECK(tables.frames[0].digest == pack.first_frame);
  CHECK(tables.frames[1].first_object == 3);
  const auto frame = read_frame(*pack.store, tables.frames[0].digest,
                                {pack.digest, tables.frames[0].offset, tables.frames[0].stored_bytes});
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(tables.objects[i].digest == pack.records[i].digest);
    const ByteView bytes = ByteView(frame->bytes).subspan(at, tables.objects[i].bytes);
    CHECK(ObjectDigest(sha256(bytes)) == pack.records[i].digest);
    at = next_object_offset(at, tables.objects[i].bytes);
  }
}

TEST_CASE("one changed byte anywhere in a pack is found") {
  const SmallPack pack;
  const std::string path = pack.folder / pack_key(pack.digest);
  const Bytes good = test::read_file(path);
  for (std::size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x04};
    test::write_file(path, bad);
    const auto store = open_directory_store(pack.folder.path());
    const Error error = error_of([&] {
      for (const PackFrame& frame : read_pack_tables(*store, pack.digest).frames) {
        (void)read_frame(*store, frame.digest, {pack.digest, frame.offset, frame.stored_bytes});
      }
    });
    CHECK_THAT(error.what(), Catch::Contains(pack_key(pack.digest)));
  }
}

TEST_CASE("a pack cut short at any length is refused") {
  const SmallPack pack;
  const std::string path = pack.folder / pack_key(pack.digest);
  const Bytes good = test::read_file(path);
  for (std::size_t size = 0; size < good.size(); size += 37) {
    test::write_file(path, ByteView(good).first(size));
    const auto store = open_directory_store(pack.folder.path());
    CHECK(error_of([&] { (void)read_pack_tables(*store, pack.digest); }).code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("a missing pack is named") {
  const SmallPack pack;
  const PackDigest other(sha256(Bytes(3)));
  const Error error = error_of([&] { (void)read_pack_tables(*pack.store, other); });
  CHECK(error.code() == ErrorCode::kNotFound);
  CHECK_THAT(error.what(), Catch::Contains(pack_key(other)));
}
