// SPDX-License-Identifier: Apache-2.0
// A window: consecutive parts of the plan with their bytes in memory, cut into objects. What the pipeline
// moves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/ingest/buffer_pool.hpp"
#include "libvmpack/partition/plan.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// An object as it was cut, not yet known to be new.
struct CutObject {
  ObjectDigest digest;
  std::uint32_t part = 0;  ///< in the window
  std::uint32_t bytes = 0;
  std::uint64_t part_offset = 0;  ///< in the part's content; a multiple of 512
  bool zero = false;              ///< all zeros: nothing to store
  bool slack = false;             ///< a sector of the disk that holds a file's end and other bytes behind it
};

struct Window {
  std::span<const Part> parts;
  std::vector<std::uint64_t> part_starts;  ///< where each part's content begins in `content`
  ByteSpan content;                        ///< whole sectors of each part, slack included; in `buffer`
  BufferPool::Buffer buffer;
  std::vector<CutObject> objects;  ///< in order of part and offset

  [[nodiscard]] ByteView object_bytes(const CutObject& object) const {
    return content.subspan(part_starts[object.part] + object.part_offset, object.bytes);
  }
};

/// Calls for each run of the disk that the object lies in, in the object's order, with whole sectors.
template <typename Each>
void for_each_range(const Window& window, const CutObject& object, Each each) {
  std::uint64_t skip = object.part_offset;
  std::uint64_t left = round_up(object.bytes, kSectorBytes);
  for (const ByteRange& range : window.parts[object.part].ranges) {
    if (skip >= range.length) {
      skip -= range.length;
      continue;
    }
    const std::uint64_t length = std::min(left, range.length - skip);
    each(ByteRange{range.offset + skip, length});
    left -= length;
    skip = 0;
    if (left == 0) break;
  }
  VMPACK_ASSERT(left == 0);
}

/// A window holds at most this much, and buffers for windows that much.
inline constexpr std::uint64_t kWindowBytesMax = 16 * kMiB;
static_assert(kWindowBytesMax >= kPartBytesMax);

/// Number of parts, from the front of `parts`, that make the next window: at least one.
[[nodiscard]] std::size_t next_window(std::span<const Part> parts);

/// Reads the parts' ranges, in few large reads where they lie side by side. `buffers` have kWindowBytesMax.
[[nodiscard]] Window read_window(Source& source, std::span<const Part> parts, BufferPool& buffers);

/// Cuts and hashes, on all cores. Fills window.objects.
void cut_window(Window& window, const RepositoryParameters& parameters);

}  // namespace vmpack
