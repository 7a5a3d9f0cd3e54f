// SPDX-License-Identifier: Apache-2.0
// A window: consecutive parts of the plan with their bytes in memory, cut into objects. What the pipeline moves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/partition/plan.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// An object as it was cut, not yet known to be new.
struct CutObject {
  ObjectDigest digest;
  std::uint32_t part = 0;          ///< in the window
  std::uint32_t bytes = 0;
  std::uint64_t part_offset = 0;   ///< in the part's content; a multiple of 512
  bool zero = false;               ///< all zeros: nothing to store
  bool slack = false;              ///< a sector of the disk that holds a file's end and other bytes behind it
};

struct Window {
  std::span<const Part> parts;
  std::vector<std::uint64_t> part_starts;  ///< where each part's content begins in `content`
  Bytes content;                           ///< whole sectors of each part, slack included
  std::vector<CutObject> objects;          ///< in order of part and offset

  [[nodiscard]] ByteView object_bytes(const CutObject& object) const {
    return ByteView(content).subspan(part_starts[object.part] + object.part_offset, object.bytes);
  }
};

/// Number of parts, from the front of `parts`, that make the next window: at least one.
[[nodiscard]] std::size_t next_window(std::span<const Part> parts, std::uint64_t bytes_max);

/// Reads the parts' ranges, in few large reads where they lie side by side.
[[nodiscard]] Window read_window(Source& source, std::span<const Part> parts);

/// Cuts and hashes, on all cores. Fills window.objects.
void cut_window(Window& window, const RepositoryParameters& parameters);

}  // namespace vmpack
