// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/image_diff.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/sector_diff.hpp"
#include "libvmpack/snapshot/map_diff.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kWindowBytes = 4 * kMiB;

/// One of the snapshots: its map, and its frames.
class Side {
 public:
  Side(const std::shared_ptr<const Repository>& repository, const SnapshotDigest& snapshot,
       const std::shared_ptr<FrameCache>& cache)
      : image_(ImageReader::open(repository, snapshot, cache)),
        map_(repository->store(), snapshot, repository->manifest(snapshot).map) {}

  [[nodiscard]] MapNodes nodes() const {
    return {map_.root(), [this](std::uint32_t number) { return map_.directory(number).value(); }};
  }
  [[nodiscard]] std::optional<MapPage> page(const std::optional<PagePlace>& place) const {
    return place ? std::optional(map_.page(place->frame)) : std::nullopt;
  }
  [[nodiscard]] FramePtr frame(const std::optional<FrameSpot>& spot) const {
    return spot ? image_->frame(spot->frame) : nullptr;
  }

 private:
  std::shared_ptr<ImageReader> image_;
  MapReader map_;
};

/// Empty where there is no frame.
ByteView bytes_at(const FramePtr& frame, const std::optional<FrameSpot>& spot, std::uint64_t length) {
  if (!spot) return {};
  if (spot->offset + length > frame->bytes.size()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("the block map points behind the end of frame {}", spot->frame.hex()));
  }
  return ByteView(frame->bytes).subspan(spot->offset, length);
}

std::vector<ByteRange> diff_pages(const Side& before, const Side& after, const PagePair& pair) {
  const auto old_page = before.page(pair.before);
  const auto new_page = after.page(pair.after);
  std::vector<ByteRange> ranges;
  for_each_difference(pair, old_page ? &*old_page : nullptr, new_page ? &*new_page : nullptr,
                      [&](const MapDifference& difference) {
                        const FramePtr old_frame = before.frame(difference.before);
                        const FramePtr new_frame = after.frame(difference.after);
                        const std::uint64_t length = difference.disk.length;
                        add_differing_sectors(difference.disk.offset,
                                              bytes_at(old_frame, difference.before, length),
                                              bytes_at(new_frame, difference.after, length), ranges);
                      });
  return ranges;
}

std::vector<ByteRange> join(const std::vector<std::vector<ByteRange>>& found) {
  std::vector<ByteRange> ranges;
  for (const std::vector<ByteRange>& some : found) {
    for (const ByteRange& range : some) add_range(ranges, range);
  }
  return ranges;
}

/// Cut at multiples of `length`.
std::vector<ByteRange> windows_of(const std::vector<ByteRange>& ranges, std::uint64_t length) {
  std::vector<ByteRange> windows;
  for (const ByteRange& range : ranges) {
    for (std::uint64_t at = range.offset; at < range.end();) {
      const std::uint64_t end = std::min(range.end(), round_down(at, length) + length);
      windows.push_back({at, end - at});
      at = end;
    }
  }
  return windows;
}

/// Zeros behind the image's end.
Bytes read_window(const ImageBytes& image, const ByteRange& window) {
  Bytes bytes(window.length);
  if (window.offset >= image.size) return bytes;
  const std::uint64_t length = std::min(window.length, image.size - window.offset);
  image.read(window.offset, ByteSpan(bytes).first(length));
  return bytes;
}

}  // namespace

std::vector<ByteRange> diff_images(const std::shared_ptr<const Repository>& repository,
                                   const SnapshotDigest& before, const SnapshotDigest& after,
                                   const std::shared_ptr<FrameCache>& cache, unsigned threads,
                                   Progress& progress) {
  const Side old_side(repository, before, cache);
  const Side new_side(repository, after, cache);
  const std::vector<PagePair> pairs = different_pages(old_side.nodes(), new_side.nodes());
  std::vector<std::vector<ByteRange>> found(pairs.size());
  progress.begin("comparing blocks", pairs.empty() ? 0 : pairs.size() * pairs.front().disk.length);
  parallel_for(pairs.size(), threads, [&](std::size_t i) {
    found[i] = diff_pages(old_side, new_side, pairs[i]);
    progress.advance(pairs[i].disk.length);
  });
  progress.end();
  return join(found);
}

std::vector<ByteRange> diff_bytes(const ImageBytes& before, const ImageBytes& after, unsigned threads,
                                  Progress& progress) {
  std::vector<ByteRange> data = before.data_ranges(0, before.size);
  std::ranges::copy(after.data_ranges(0, after.size), std::back_inserter(data));
  sort_and_join(data);
  const std::vector<ByteRange> windows = windows_of(data, kWindowBytes);
  std::vector<std::vector<ByteRange>> found(windows.size());
  progress.begin("comparing blocks", total_bytes(data));
  parallel_for(windows.size(), threads, [&](std::size_t i) {
    add_differing_sectors(windows[i].offset, read_window(before, windows[i]), read_window(after, windows[i]),
                          found[i]);
    progress.advance(windows[i].length);
  });
  progress.end();
  return join(found);
}

}  // namespace vmpack
