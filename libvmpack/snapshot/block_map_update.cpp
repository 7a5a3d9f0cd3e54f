// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/block_map_update.hpp"

#include <algorithm>

#include "libvmpack/base/byte_ranges.hpp"

namespace vmpack {
namespace {

/// A run of the image and where its bytes are: as the parent has it, or new.
struct Piece {
  ByteRange range;
  FrameDigest frame;
  std::uint64_t offset = 0;
};

std::uint64_t mapped_bytes(const MapPage& page) {
  std::uint64_t bytes = 0;
  for (const PageRun& run : page.runs) bytes += run.length * kSectorBytes;
  return bytes;
}

/// Cuts ranges where a region ends.
std::vector<ByteRange> split_at_regions(std::span<const ByteRange> ranges, std::uint64_t region_bytes) {
  std::vector<ByteRange> split;
  for (ByteRange range : ranges) {
    while (range.length > 0) {
      const std::uint64_t length = std::min(range.length, region_bytes - range.offset % region_bytes);
      split.push_back({range.offset, length});
      range = {range.offset + length, range.length - length};
    }
  }
  return split;
}

/// What `page` maps outside `changed`.
void add_kept(const MapPage& page, std::uint64_t region_start, std::span<const ByteRange> changed,
              std::vector<Piece>& pieces) {
  for (const PageRun& run : page.runs) {
    const ByteRange whole{region_start + run.start * kSectorBytes, run.length * kSectorBytes};
    for (const ByteRange& range : without({&whole, 1}, changed)) {
      pieces.push_back({range, page.frames[run.frame], run.offset + (range.offset - whole.offset)});
    }
  }
}

/// One update, from the first change to the last.
class MapUpdate {
 public:
  MapUpdate(const ParentMap& parent, std::span<const ByteRange> changed, std::span<const MapSegment> segments,
            std::span<const FrameDigest> frames, const StoreMapNode& store_node)
      : parent_(parent),
        region_bytes_(parent.root.region_bytes),
        directory_bytes_(region_bytes_ * parent.root.regions_per_directory),
        changed_(split_at_regions(changed, region_bytes_)),
        segments_(segments),
        frames_(frames),
        store_node_(store_node) {}

  UpdatedMap run(std::uint64_t image_bytes) {
    MapRoot& root = result_.root;
    root = parent_.root;
    root.image_bytes = image_bytes;
    root.directories.clear();
    auto old = parent_.root.directories.begin();
    const auto old_end = parent_.root.directories.end();
    while (at_ < changed_.size()) {
      const auto index = static_cast<std::uint32_t>(changed_[at_].offset / directory_bytes_);
      for (; old != old_end && old->index < index; ++old) root.directories.push_back(*old);
      MapDirectory before;
      if (old != old_end && old->index == index) before = parent_.directory((old++)->frame);
      const MapDirectory after = update_directory(before, index * directory_bytes_);
      if (!after.pages.empty()) root.directories.push_back({index, store_node_(encode(after))});
    }
    root.directories.insert(root.directories.end(), old, old_end);
    return std::move(result_);
  }

 private:
  MapDirectory update_directory(const MapDirectory& before, std::uint64_t start) {
    MapDirectory after;
    auto old = before.pages.begin();
    while (at_ < changed_.size() && changed_[at_].offset < start + directory_bytes_) {
      const auto index = static_cast<std::uint32_t>((changed_[at_].offset - start) / region_bytes_);
      for (; old != before.pages.end() && old->index < index; ++old) after.pages.push_back(*old);
      MapPage page;
      if (old != before.pages.end() && old->index == index) page = parent_.page((old++)->frame);
      page = update_page(page, start + index * region_bytes_);
      if (!page.runs.empty()) after.pages.push_back({index, store_node_(encode(page))});
    }
    after.pages.insert(after.pages.end(), old, before.pages.end());
    return after;
  }

  MapPage update_page(const MapPage& before, std::uint64_t start) {
    const std::size_t first = at_;
    while (at_ < changed_.size() && changed_[at_].offset < start + region_bytes_) ++at_;
    std::vector<Piece> pieces;
    add_kept(before, start, std::span(changed_).subspan(first, at_ - first), pieces);
    add_segments({start, region_bytes_}, pieces);
    std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.range.offset; });
    PageBuilder builder(start);
    for (const Piece& piece : pieces) {
      builder.add(piece.range.offset, piece.range.length, piece.frame,
                  static_cast<std::uint32_t>(piece.offset));
    }
    result_.bytes_before += mapped_bytes(before);
    result_.bytes_after += mapped_bytes(builder.page());
    return builder.page();
  }

  /// Regions come in rising order, and so do segments; one may reach into the next region.
  void add_segments(ByteRange region, std::vector<Piece>& pieces) {
    for (; segment_ < segments_.size() && segments_[segment_].disk_offset < region.end(); ++segment_) {
      const MapSegment& segment = segments_[segment_];
      const std::uint64_t segment_end = segment.disk_offset + segment.length;
      const std::uint64_t from = std::max(segment.disk_offset, region.offset);
      const std::uint64_t end = std::min(segment_end, region.end());
      if (from < end) {
        pieces.push_back(
            {{from, end - from}, frames_[segment.frame], segment.offset + (from - segment.disk_offset)});
      }
      if (segment_end > region.end()) break;
    }
  }

  const ParentMap& parent_;
  std::uint64_t region_bytes_;
  std::uint64_t directory_bytes_;
  std::vector<ByteRange> changed_;  // none over a region's end
  std::size_t at_ = 0;              // the first of changed_ that is not done
  std::span<const MapSegment> segments_;
  std::size_t segment_ = 0;
  std::span<const FrameDigest> frames_;
  const StoreMapNode& store_node_;
  UpdatedMap result_;
};

}  // namespace

UpdatedMap update_block_map(const ParentMap& parent, std::uint64_t image_bytes,
                            std::span<const ByteRange> changed, std::span<const MapSegment> segments,
                            std::span<const FrameDigest> frames, const StoreMapNode& store_node) {
  return MapUpdate(parent, changed, segments, frames, store_node).run(image_bytes);
}

}  // namespace vmpack
