// SPDX-License-Identifier: Apache-2.0
// Sets of bytes of an image as lists of ranges, as sort_and_join() makes them: sorted by offset, none empty,
// none overlapping another. None may reach behind the largest number.
#pragma once

#include <algorithm>
#include <iterator>
#include <span>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

[[nodiscard]] inline bool is_inside(ByteRange outer, std::uint64_t offset, std::uint64_t length) {
  return offset >= outer.offset && length <= outer.length && offset - outer.offset <= outer.length - length;
}

/// Sorts by offset and joins what touches or overlaps.
inline void sort_and_join(std::vector<ByteRange>& ranges) {
  std::erase_if(ranges, [](const ByteRange& range) { return range.length == 0; });
  std::ranges::sort(ranges, {}, &ByteRange::offset);
  std::size_t kept = 0;
  for (const ByteRange& range : ranges) {
    if (kept > 0 && range.offset <= ranges[kept - 1].end()) {
      ByteRange& last = ranges[kept - 1];
      last.length = std::max(last.end(), range.end()) - last.offset;
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
}

/// What is in both.
[[nodiscard]] inline std::vector<ByteRange> intersect(std::span<const ByteRange> a,
                                                      std::span<const ByteRange> b) {
  std::vector<ByteRange> both;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const std::uint64_t start = std::max(a[i].offset, b[j].offset);
    const std::uint64_t end = std::min(a[i].end(), b[j].end());
    if (start < end) both.push_back({start, end - start});
    (a[i].end() < b[j].end() ? i : j) += 1;
  }
  return both;
}

/// What is left of `from` without `taken`.
[[nodiscard]] inline std::vector<ByteRange> without(std::span<const ByteRange> from,
                                                    std::span<const ByteRange> taken) {
  std::vector<ByteRange> left;
  std::size_t next = 0;
  for (const ByteRange& range : from) {
    std::uint64_t at = range.offset;
    while (next < taken.size() && taken[next].end() <= at) ++next;
    for (std::size_t i = next; i < taken.size() && taken[i].offset < range.end(); ++i) {
      if (taken[i].offset > at) left.push_back({at, taken[i].offset - at});
      at = std::max(at, taken[i].end());
    }
    if (at < range.end()) left.push_back({at, range.end() - at});
  }
  return left;
}

/// Whether some of `range` lies in `ranges`.
[[nodiscard]] inline bool touches(std::span<const ByteRange> ranges, ByteRange range) {
  const auto behind = std::ranges::lower_bound(ranges, range.end(), {}, &ByteRange::offset);
  return behind != ranges.begin() && std::prev(behind)->end() > range.offset;
}

/// Those of `ranges` that some of `range` lies in.
[[nodiscard]] inline std::span<const ByteRange> ranges_at(std::span<const ByteRange> ranges,
                                                          ByteRange range) {
  const auto first = std::ranges::upper_bound(ranges, range.offset, {}, &ByteRange::end);
  const auto last = std::ranges::lower_bound(first, ranges.end(), range.end(), {}, &ByteRange::offset);
  return {first, last};
}

/// How much of `range` lies in `ranges`.
[[nodiscard]] inline std::uint64_t overlap(std::span<const ByteRange> ranges, ByteRange range) {
  std::uint64_t bytes = 0;
  for (const ByteRange& each : ranges_at(ranges, range)) {
    bytes += std::min(each.end(), range.end()) - std::max(each.offset, range.offset);
  }
  return bytes;
}

/// Whether all of that lies in one of `ranges`.
[[nodiscard]] inline bool lies_within(std::span<const ByteRange> ranges, std::uint64_t offset,
                                      std::uint64_t length) {
  const auto behind = std::ranges::upper_bound(ranges, offset, {}, &ByteRange::offset);
  return behind != ranges.begin() && is_inside(*std::prev(behind), offset, length);
}

[[nodiscard]] inline std::uint64_t total_bytes(std::span<const ByteRange> ranges) {
  std::uint64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.length;
  return bytes;
}

}  // namespace vmpack
