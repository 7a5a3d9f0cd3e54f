// SPDX-License-Identifier: Apache-2.0
// Cuts a run of bytes into objects. Cuts lie at multiples of 512 bytes, because the block map counts in
// sectors.
#pragma once

#include <cstdint>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

enum class Cutting : std::uint8_t {
  kWhole,           ///< one object
  kContentDefined,  ///< where the content says, so that a change moves no cut but those beside it
  kFixed,           ///< at multiples of a unit
};

/// Lengths in bytes, multiples of 512.
struct CutParameters {
  std::uint32_t bytes_min = 0;
  std::uint32_t bytes_target = 0;
  std::uint32_t bytes_max = 0;
};

/// Length of the first object of `rest` by its content: between bytes_min and bytes_max, or all of a shorter
/// rest. A cut is decided by the 64 bytes before it, looked at once a sector, more easily behind bytes_target
/// than before it (normalised as in Xia et al., FastCDC, 2016). docs/decisions/0005-cutting.md.
[[nodiscard]] std::size_t content_defined_cut(ByteView rest, const CutParameters& parameters);

}  // namespace vmpack
