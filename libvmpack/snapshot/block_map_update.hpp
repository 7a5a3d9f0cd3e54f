// SPDX-License-Identifier: Apache-2.0
// From a snapshot's block map to that of a changed image: only what lies over a change is read and made anew,
// everything else is shared.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "libvmpack/base/units.hpp"
#include "libvmpack/snapshot/block_map.hpp"

namespace vmpack {

/// The map to start from. The functions read one of its nodes, and throw what reading throws.
struct ParentMap {
  const MapRoot& root;
  std::function<MapDirectory(const FrameDigest&)> directory;
  std::function<MapPage(const FrameDigest&)> page;
};

struct UpdatedMap {
  MapRoot root;
  std::uint64_t bytes_before = 0;  ///< that the parent's pages over the changes map to frames, all in all
  std::uint64_t bytes_after = 0;   ///< that the pages map that came in their place
};

/// The map of the parent's image with `changed` (sorted, in whole sectors, none overlapping another) replaced
/// by `segments`, which lie in there; what of it no segment covers is zero. `image_bytes` is at least the
/// parent's; what is behind that is zero but for segments. Regions keep their size. Where that is
/// region_bytes_for(image_bytes), the nodes are the ones that build_block_map() would make. Uses
/// `store_node` and `frames` as that does.
[[nodiscard]] UpdatedMap update_block_map(const ParentMap& parent, std::uint64_t image_bytes,
                                          std::span<const ByteRange> changed,
                                          std::span<const MapSegment> segments,
                                          std::span<const FrameDigest> frames,
                                          const StoreMapNode& store_node);

}  // namespace vmpack
