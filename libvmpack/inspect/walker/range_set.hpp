// SPDX-License-Identifier: Apache-2.0
// Lists and sets of byte ranges.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Sorts by offset and joins what touches or overlaps.
void sort_and_join(std::vector<ByteRange>& ranges);

/// What is left of `from` without `taken`; both as sort_and_join() leaves them.
[[nodiscard]] std::vector<ByteRange> without(std::span<const ByteRange> from,
                                             std::span<const ByteRange> taken);

/// Whether some of `range` lies in `ranges`, which are as sort_and_join() leaves them.
[[nodiscard]] bool touches(std::span<const ByteRange> ranges, ByteRange range);

/// Ranges that somebody has.
class RangeSet {
 public:
  /// Takes them all, or none and says false when some of them is taken.
  bool take(std::span<const ByteRange> ranges);

 private:
  void add(ByteRange range);
  [[nodiscard]] bool holds_some_of(ByteRange range) const;

  std::map<std::uint64_t, std::uint64_t> ends_;  ///< by offset; neither touching nor overlapping
};

}  // namespace vmpack
