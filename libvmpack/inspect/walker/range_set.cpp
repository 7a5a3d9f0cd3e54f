// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/range_set.hpp"

#include <algorithm>

namespace vmpack {

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
