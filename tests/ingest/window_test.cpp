// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/window.hpp"

#include <catch2/catch.hpp>

#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack {
namespace {

TEST_CASE("pieces of a database are cut where the whole file is") {
  const Bytes image = test::random_bytes(7, kMiB);
  test::MemorySource source(image);
  BufferPool buffers(kWindowBytesMax);
  const auto cut = [&](std::uint64_t file_offset, std::uint64_t bytes) {
    Part part;
    part.object_class = ObjectClass::kDatabase;
    part.cutting = Cutting::kFixed;
    part.file = 0;
    part.file_offset = file_offset;
    part.bytes = bytes;
    part.ranges = {{file_offset, bytes}};
    Window window = read_window(source, {&part, 1}, buffers);
    cut_window(window, {});
    std::vector<ObjectDigest> digests;
    for (const CutObject& object : window.objects) digests.push_back(object.digest);
    return digests;
  };
  const auto whole = cut(0, kMiB);
  REQUIRE(whole.size() == 16);
  const auto piece = cut(20 * kKiB, 200 * kKiB);
  REQUIRE(piece.size() == 4);
  CHECK(piece[1] == whole[1]);
  CHECK(piece[2] == whole[2]);
}

}  // namespace
}  // namespace vmpack
