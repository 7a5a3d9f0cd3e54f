// SPDX-License-Identifier: Apache-2.0
// Where two block maps differ: by digests alone, descending only where those differ. No I/O of its own.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "libvmpack/snapshot/block_map.hpp"

namespace vmpack {

/// A page of a map, and the byte of the image that its region begins at.
struct PagePlace {
  std::uint64_t region_start = 0;
  FrameDigest frame;
};

/// A stretch of both images, of at most one region of either, whose pages are not the same.
struct PagePair {
  ByteRange disk;                   ///< the last one may reach behind the images' ends
  std::optional<PagePlace> before;  ///< nullopt: all zeros
  std::optional<PagePlace> after;
};

/// One map's root, and how its directories are read.
struct MapNodes {
  const MapRoot& root;
  std::function<MapDirectory(std::uint32_t number)> directory;
};

/// In order. The maps may be of images of any sizes; only where their regions are equally large can equal
/// directories be passed over.
[[nodiscard]] std::vector<PagePair> different_pages(const MapNodes& before, const MapNodes& after);

/// Where bytes are stored.
struct FrameSpot {
  FrameDigest frame;
  std::uint32_t offset = 0;  ///< in the decoded frame, bytes

  friend bool operator==(const FrameSpot&, const FrameSpot&) = default;
};

/// A stretch whose bytes two maps have in different spots: they may be the same nevertheless.
struct MapDifference {
  ByteRange disk;                   ///< whole sectors
  std::optional<FrameSpot> before;  ///< nullopt: zeros
  std::optional<FrameSpot> after;
};

/// Calls for what differs within pair.disk, in order. Pages are null where the pair has none.
void for_each_difference(const PagePair& pair, const MapPage* before, const MapPage* after,
                         const std::function<void(const MapDifference&)>& each);

}  // namespace vmpack
