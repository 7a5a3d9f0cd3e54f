// SPDX-License-Identifier: Apache-2.0
// Which sectors of two runs of bytes are not the same.
#pragma once

#include <cstring>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Adds behind what is in `ranges`, joined with its last one where they touch. Empty: nothing to add.
inline void add_range(std::vector<ByteRange>& ranges, const ByteRange& range) {
  if (range.length == 0) return;
  if (!ranges.empty() && ranges.back().end() == range.offset) {
    ranges.back().length += range.length;
  } else {
    ranges.push_back(range);
  }
}

/// Adds to `ranges` the sectors in which `before` and `after` differ, which are of one length and begin at
/// `offset` of the image, a multiple of a sector. An empty view stands for zeros.
inline void add_differing_sectors(std::uint64_t offset, ByteView before, ByteView after,
                                  std::vector<ByteRange>& ranges) {
  const auto same = [&](std::uint64_t at, std::uint64_t length) {
    if (before.empty()) return is_zero(after.subspan(at, length));
    if (after.empty()) return is_zero(before.subspan(at, length));
    return std::memcmp(before.data() + at, after.data() + at, length) == 0;
  };
  const std::uint64_t size = std::max(before.size(), after.size());
  if (same(0, size)) return;
  for (std::uint64_t at = 0; at < size; at += kSectorBytes) {
    const std::uint64_t length = std::min(kSectorBytes, size - at);
    if (!same(at, length)) add_range(ranges, {offset + at, length});
  }
}

}  // namespace vmpack
