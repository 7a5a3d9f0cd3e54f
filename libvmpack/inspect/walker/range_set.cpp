// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/range_set.hpp"

#include <algorithm>

namespace vmpack {

void sort_and_join(std::vector<ByteRange>& ranges) {
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

std::vector<ByteRange> without(std::span<const ByteRange> from, std::span<const ByteRange> taken) {
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

bool touches(std::span<const ByteRange> ranges, ByteRange range) {
  const auto behind = std::ranges::lower_bound(ranges, range.end(), {}, &ByteRange::offset);
  return behind != ranges.begin() && std::prev(behind)->end() > range.offset;
}

bool RangeSet::holds_some_of(ByteRange range) const {
  const auto behind = ends_.lower_bound(range.end());
  return behind != ends_.begin() && std::prev(behind)->second > range.offset;
}

void RangeSet::add(ByteRange range) {
  std::uint64_t end = range.end();
  if (const auto next = ends_.find(end); next != ends_.end()) {
    end = next->second;
    ends_.erase(next);
  }
  const auto behind = ends_.lower_bound(range.offset);
  if (behind != ends_.begin() && std::prev(behind)->second == range.offset) {
    std::prev(behind)->second = end;
  } else {
    ends_.emplace_hint(behind, range.offset, end);
  }
}

bool RangeSet::take(std::span<const ByteRange> ranges) {
  if (std::ranges::any_of(ranges, [this](const ByteRange& range) { return holds_some_of(range); })) {
    return false;
  }
  for (const ByteRange& range : ranges) add(range);
  return true;
}

}  // namespace vmpack
