// SPDX-License-Identifier: Apache-2.0
// What is done with objects of each class: the one table for it.
#pragma once

#include <cstdint>

#include "libvmpack/base/object_class.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/partition/cutter.hpp"

namespace vmpack {

struct ClassPolicy {
  /// Of files that are too large to be one object, and of runs of the disk that belong to no file.
  Cutting cutting = Cutting::kContentDefined;
  /// Objects of fixed size end at multiples of this.
  std::uint32_t fixed_bytes = 16 * kKiB;
  /// Content-defined objects are this many times smaller than the repository's parameters say.
  std::uint32_t finer = 1;
  /// Frames may hold this many times what the repository's parameters say: for what is hardly ever read.
  std::uint32_t frame_factor = 1;
  /// zstd's level is at most this, whatever the user asks for.
  int level_max = 19;
  /// New objects outside files are versions of what an older snapshot has at the same place of the disk.
  bool stays_in_place = false;
};

/// docs/decisions/0005-cutting.md and 0007-delta-frames.md give the measurements.
[[nodiscard]] ClassPolicy policy_of(ObjectClass object_class);

}  // namespace vmpack
