// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/sector_diff.hpp"

#include <catch2/catch.hpp>

using namespace vmpack;

namespace {

std::vector<ByteRange> differing(ByteView before, ByteView after, std::uint64_t offset = 0) {
  std::vector<ByteRange> ranges;
  add_differing_sectors(offset, before, after, ranges);
  return ranges;
}

}  // namespace

TEST_CASE("sectors that differ are found and joined") {
  const Bytes before(8 * kSectorBytes);
  Bytes after = before;
  CHECK(differing(before, after).empty());
  after[0] = after[3 * kSectorBytes - 1] = after[3 * kSectorBytes] = std::byte{1};
  const std::vector<ByteRange> expected = {{kMiB, kSectorBytes}, {kMiB + 2 * kSectorBytes, 2 * kSectorBytes}};
  CHECK(differing(before, after, kMiB) == expected);
  CHECK(differing(after, before, kMiB) == expected);
}

TEST_CASE("an empty view stands for zeros") {
  Bytes bytes(4 * kSectorBytes);
  CHECK(differing({}, bytes).empty());
  CHECK(differing(bytes, {}).empty());
  CHECK(differing({}, {}).empty());
  bytes.back() = std::byte{1};
  CHECK(differing({}, bytes) == std::vector<ByteRange>{{3 * kSectorBytes, kSectorBytes}});
  CHECK(differing(bytes, {}) == std::vector<ByteRange>{{3 * kSectorBytes, kSectorBytes}});
}
