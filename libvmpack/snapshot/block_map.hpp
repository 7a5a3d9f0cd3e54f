// SPDX-License-Identifier: Apache-2.0
// The block map: image offset to frame and offset in it, in three levels of nodes that snapshots share.
// Format: formats/block_map.md. The root is a file; directories and pages are objects in frames of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Number of regions that one directory covers.
inline constexpr std::uint32_t kRegionsPerDirectory = 256;

/// Bytes of image that one page maps: a power of two, 1 MiB up to images of 512 GiB, so that a root stays
/// small.
[[nodiscard]] std::uint64_t region_bytes_for(std::uint64_t image_bytes);

/// "maps/ab/ab12….map".
[[nodiscard]] std::string map_key(const MapDigest& map);

struct MapChild {
  std::uint32_t index = 0;
  FrameDigest frame;
};

struct MapRoot {
  std::uint64_t image_bytes = 0;
  std::uint64_t region_bytes = 0;
  std::uint32_t regions_per_directory = kRegionsPerDirectory;
  std::vector<MapChild> directories;  ///< sorted by index; what is missing is zero
};

struct MapDirectory {
  std::vector<MapChild> pages;  ///< sorted by index within the directory; what is missing is zero
};

/// Start and length in sectors within the region.
struct PageRun {
  std::uint32_t start = 0;
  std::uint32_t length = 0;
  std::uint32_t frame = 0;   ///< in the page's frames
  std::uint32_t offset = 0;  ///< byte offset in the decoded frame
};

struct MapPage {
  std::vector<FrameDigest> frames;
  std::vector<PageRun> runs;  ///< sorted by start, not overlapping; what none covers is zero
};

// Encoders give the canonical bytes; decoders check structure, order and every range, and throw kDamaged,
// kLimit or kUnsupported naming `where`.
[[nodiscard]] Bytes encode(const MapRoot& root);
[[nodiscard]] Bytes encode(const MapDirectory& directory);
[[nodiscard]] Bytes encode(const MapPage& page);
[[nodiscard]] MapRoot decode_map_root(ByteView bytes, std::string_view where);
[[nodiscard]] MapDirectory decode_map_directory(ByteView bytes, const MapRoot& root, std::string_view where);
[[nodiscard]] MapPage decode_map_page(ByteView bytes, const MapRoot& root, std::string_view where);

/// Makes the page of one region. Not for use by two threads at once.
class PageBuilder {
 public:
  /// `region_start` in bytes of the image.
  explicit PageBuilder(std::uint64_t region_start) : region_start_(region_start) {}

  /// In rising order, inside the region; bytes, multiples of 512. `offset` is in the decoded frame.
  void add(std::uint64_t disk_offset, std::uint64_t length, const FrameDigest& frame, std::uint32_t offset);

  [[nodiscard]] const MapPage& page() const { return page_; }

 private:
  std::uint64_t region_start_;
  std::unordered_map<FrameDigest, std::uint32_t, DigestHash> numbers_;
  MapPage page_;
};

/// A run of the image and where its bytes are.
struct MapSegment {
  std::uint64_t disk_offset = 0;  ///< bytes, a multiple of 512
  std::uint64_t length = 0;       ///< bytes, a multiple of 512
  std::uint32_t frame = 0;        ///< number of the frame among the builder's
  std::uint32_t offset = 0;       ///< byte offset in the decoded frame
};

/// Stores a node's bytes as an object in a frame of its own, or finds it stored, and returns that frame.
using StoreMapNode = std::function<FrameDigest(Bytes node)>;

/// Builds directories and pages through `store_node`, and returns the root. `segments` must be sorted and
/// must not overlap; `frames` gives the digest of each frame number.
[[nodiscard]] MapRoot build_block_map(std::uint64_t image_bytes, std::span<const MapSegment> segments,
                                      std::span<const FrameDigest> frames, const StoreMapNode& store_node);

}  // namespace vmpack
