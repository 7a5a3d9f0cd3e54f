// SPDX-License-Identifier: Apache-2.0
// Where an image differs from another one: block by block, holes against holes without reading.
#pragma once

#include <span>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Sorted, in whole sectors, none overlapping another.
struct Difference {
  std::vector<ByteRange> data;    ///< differs, and is not zero
  std::vector<ByteRange> zeroed;  ///< is zero, and was not
};

/// Compares `image` with `before` inside `ranges` (sorted, in whole sectors), in blocks of 4 KiB, on all
/// cores. `before` counts as zero behind its end. Nothing outside of the ranges counts for anything. Throws
/// what reading throws.
[[nodiscard]] Difference compare(Source& image, Source& before, std::span<const ByteRange> ranges,
                                 Progress& progress);

}  // namespace vmpack
