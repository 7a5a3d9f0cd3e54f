// SPDX-License-Identifier: Apache-2.0
#include "tools/mount/next_range.hpp"

#include <algorithm>

#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

// Most answers are near; where they are not, a longer look saves steps.
constexpr std::uint64_t kFirstLookBytes = kMiB;
constexpr std::uint64_t kLookBytesMax = kGiB;

std::optional<std::uint64_t> next_of_kind(const ImageReader& image, std::uint64_t offset, bool zero) {
  std::uint64_t look_bytes = kFirstLookBytes;
  while (offset < image.size()) {
    const std::uint64_t length = std::min(look_bytes, image.size() - offset);
    for (const AllocationRun& run : image.allocation(offset, length)) {
      if (run.zero == zero) return offset;
      offset += run.length;
    }
    look_bytes = std::min(2 * look_bytes, kLookBytesMax);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> next_data(const ImageReader& image, std::uint64_t offset) {
  return next_of_kind(image, offset, false);
}

std::uint64_t next_hole(const ImageReader& image, std::uint64_t offset) {
  return next_of_kind(image, offset, true).value_or(image.size());
}

}  // namespace vmpack
