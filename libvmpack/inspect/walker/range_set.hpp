// SPDX-License-Identifier: Apache-2.0
// A set of byte ranges that grows.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "libvmpack/base/byte_ranges.hpp"

namespace vmpack {

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
