// SPDX-License-Identifier: Apache-2.0
// Collects the parts of an image that may hold data into the form that Source::data_ranges() promises.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// A server can describe an image in pieces of one sector. From this many ranges on the rest counts as data,
/// which is always right, only slower.
inline constexpr std::size_t kDataRangesMax = 4'000'000;

class DataRanges {
 public:
  /// Collects inside `window` only.
  explicit DataRanges(ByteRange window) : window_(window) {}

  /// Adds data, in rising order.
  void add(std::uint64_t offset, std::uint64_t end) {
    offset = std::max(round_down(offset, kSectorBytes), window_.offset);
    end = std::min(round_up(end, kSectorBytes), window_.end());
    if (offset >= end) return;
    const bool joins =
        !ranges_.empty() && (offset <= ranges_.back().end() || ranges_.size() >= kDataRangesMax);
    if (joins) {
      ranges_.back().length = std::max(ranges_.back().end(), end) - ranges_.back().offset;
    } else {
      ranges_.push_back({offset, end - offset});
    }
  }
  [[nodiscard]] std::vector<ByteRange> take() { return std::move(ranges_); }

 private:
  ByteRange window_;
  std::vector<ByteRange> ranges_;
};

}  // namespace vmpack
