// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/image_reader.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

using PagePtr = std::shared_ptr<const MapPage>;

/// Decoded pages of one image. Bounded: a part that is full is emptied, its pages are read again when needed.
class PageCache {
 public:
  /// nullopt: not here. A null pointer: known to be all zeros.
  std::optional<PagePtr> find(std::uint64_t region) const {
    const Part& part = parts_[region % kParts];
    const std::shared_lock lock(part.mutex);
    const auto found = part.pages.find(region);
    if (found == part.pages.end()) return std::nullopt;
    return found->second;
  }

  void insert(std::uint64_t region, PagePtr page) {
    Part& part = parts_[region % kParts];
    const std::uint64_t cost =
        128 + (page ? page->frames.size() * sizeof(FrameDigest) + page->runs.size() * sizeof(PageRun) : 0);
    const std::unique_lock lock(part.mutex);
    if (part.bytes + cost > kBytesMax / kParts) {
      part.pages.clear();
      part.bytes = 0;
    }
    if (part.pages.try_emplace(region, std::move(page)).second) part.bytes += cost;
  }

 private:
  static constexpr std::size_t kParts = 16;
  static constexpr std::uint64_t kBytesMax = 64 * kMiB;
  struct Part {
    mutable std::shared_mutex mutex;
    std::unordered_map<std::uint64_t, PagePtr> pages;
    std::uint64_t bytes = 0;
  };
  std::array<Part, kParts> parts_;
};

}  // namespace

struct ImageReader::State {
  State(std::shared_ptr<const Repository> opened, const SnapshotDigest& digest,
        std::shared_ptr<FrameCache> frames)
      : repository(std::move(opened)),
        snapshot(digest),
        cache(std::move(frames)),
        map(repository->store(), digest, repository->manifest(digest).map) {}

  std::shared_ptr<const Repository> repository;
  SnapshotDigest snapshot;
  std::shared_ptr<FrameCache> cache;
  MapReader map;
  PageCache pages;
  std::mutex directories_mutex;
  std::unordered_map<std::uint64_t, std::shared_ptr<const MapDirectory>> directories;  // guarded; null: zeros

  std::shared_ptr<const MapDirectory> directory(std::uint64_t number) {
    {
      const std::lock_guard lock(directories_mutex);
      if (const auto found = directories.find(number); found != directories.end()) return found->second;
    }
    auto loaded = map.directory(number);
    auto shared = loaded ? std::make_shared<const MapDirectory>(std::move(*loaded)) : nullptr;
    const std::lock_guard lock(directories_mutex);
    return directories.try_emplace(number, std::move(shared)).first->second;
  }

  /// The page of a region, null where it is all zeros.
  PagePtr page(std::uint64_t region) {
    if (auto found = pages.find(region)) return *found;
    const MapRoot& root = map.root();
    PagePtr loaded;
    if (const auto parent = directory(region / root.regions_per_directory)) {
      const std::uint64_t index = region % root.regions_per_directory;
      const auto child = std::ranges::lower_bound(parent->pages, index, {}, &MapChild::index);
      if (child != parent->pages.end() && child->index == index) {
        loaded = std::make_shared<const MapPage>(map.page(child->frame));
      }
    }
    pages.insert(region, loaded);
    return loaded;
  }

  FramePtr frame(const FrameDigest& digest) {
    return cache->get(digest, [&] { return map.frame(digest, read_base); });
  }
  // A frame cannot wait here for one that waits for it: each digest covers the digests of its bases.
  BaseReader read_base = [this](const FrameDigest& digest) {
    return cache->get(digest, [&] { return map.base(digest); });
  };

  void check_range(std::uint64_t offset, std::uint64_t length) const {
    VMPACK_ASSERT(offset <= map.root().image_bytes && length <= map.root().image_bytes - offset);
  }
};

namespace {

/// Calls `zeros(into)` or `data(into, frame digest, offset in frame)` for each piece of a read within one
/// page; `offset` counts from the region's start. A callback that returns false ends the walk, which then
/// returns false.
template <typename Zeros, typename Data>
bool walk_page(const MapPage& page, std::uint64_t offset, std::uint64_t length, Zeros zeros, Data data) {
  const std::uint64_t end = offset + length;
  auto run = std::ranges::upper_bound(page.runs, offset / kSectorBytes, {}, &PageRun::start);
  if (run != page.runs.begin()) --run;
  std::uint64_t at = offset;
  for (; run != page.runs.end() && at < end; ++run) {
    const std::uint64_t run_start = run->start * kSectorBytes;
    const std::uint64_t run_end = run_start + run->length * kSectorBytes;
    if (run_end <= at) continue;
    if (run_start >= end) break;
    if (run_start > at) {
      if (!zeros(at - offset, run_start - at)) return false;
      at = run_start;
    }
    const std::uint64_t piece_end = std::min(run_end, end);
    if (!data(at - offset, piece_end - at, page.frames[run->frame], run->offset + (at - run_start)))
      return false;
    at = piece_end;
  }
  return at >= end || zeros(at - offset, end - at);
}

/// The piece of a frame that the block map points to.
ByteView piece_of(const DecodedFrame& frame, std::uint64_t offset, std::uint64_t length,
                  const FrameDigest& digest) {
  if (offset + length > frame.bytes.size()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("the block map points behind the end of frame {}", digest.hex()));
  }
  return ByteView(frame.bytes).subspan(offset, length);
}

void copy_from_frame(const DecodedFrame& frame, std::uint64_t offset, ByteSpan into,
                     const FrameDigest& digest) {
  std::memcpy(into.data(), piece_of(frame, offset, into.size(), digest).data(), into.size());
}

}  // namespace

ImageReader::ImageReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ImageReader::~ImageReader() = default;

std::shared_ptr<ImageReader> ImageReader::open(std::shared_ptr<const Repository> repository,
                                               const SnapshotDigest& snapshot,
                                               std::shared_ptr<FrameCache> cache) {
  return std::shared_ptr<ImageReader>(
      new ImageReader(std::make_unique<State>(std::move(repository), snapshot, std::move(cache))));
}

std::uint64_t ImageReader::size() const { return state_->map.root().image_bytes; }
const SnapshotDigest& ImageReader::snapshot() const { return state_->snapshot; }

void ImageReader::read(std::uint64_t offset, ByteSpan into) const {
  state_->check_range(offset, into.size());
  const std::uint64_t region_bytes = state_->map.root().region_bytes;
  while (!into.empty()) {
    const std::uint64_t within = offset % region_bytes;
    const ByteSpan piece = into.first(std::min<std::uint64_t>(into.size(), region_bytes - within));
    const auto zeros = [&](std::uint64_t at, std::uint64_t length) {
      std::memset(piece.data() + at, 0, length);
      return true;
    };
    const auto data = [&](std::uint64_t at, std::uint64_t length, const FrameDigest& digest,
                          std::uint64_t from) {
      copy_from_frame(*state_->frame(digest), from, piece.subspan(at, length), digest);
      return true;
    };
    if (const PagePtr page = state_->page(offset / region_bytes)) {
      walk_page(*page, within, piece.size(), zeros, data);
    } else {
      zeros(0, piece.size());
    }
    offset += piece.size();
    into = into.subspan(piece.size());
  }
}

bool ImageReader::try_read(std::uint64_t offset, ByteSpan into) const {
  state_->check_range(offset, into.size());
  const std::uint64_t region_bytes = state_->map.root().region_bytes;
  const FrameCache::ReadGuard guard;
  while (!into.empty()) {
    const std::uint64_t within = offset % region_bytes;
    const ByteSpan piece = into.first(std::min<std::uint64_t>(into.size(), region_bytes - within));
    const auto page = state_->pages.find(offset / region_bytes);
    if (!page) return false;
    const auto zeros = [&](std::uint64_t at, std::uint64_t length) {
      std::memset(piece.data() + at, 0, length);
      return true;
    };
    const auto data = [&](std::uint64_t at, std::uint64_t length, const FrameDigest& digest,
                          std::uint64_t from) {
      const DecodedFrame* const frame = state_->cache->find(guard, digest);
      if (frame == nullptr) return false;
      copy_from_frame(*frame, from, piece.subspan(at, length), digest);
      return true;
    };
    if (!*page) {
      zeros(0, piece.size());
    } else if (!walk_page(**page, within, piece.size(), zeros, data)) {
      return false;
    }
    offset += piece.size();
    into = into.subspan(piece.size());
  }
  return true;
}

namespace {

/// Calls `page_of(region)`, which gives a page (null: zeros) or nullopt to end the walk, and
/// `frame_of(digest)`, which gives a frame or null to end it. False when it was ended.
template <typename PageOf, typename FrameOf>
bool collect_pieces(std::uint64_t region_bytes, ByteRange range, std::vector<ImagePiece>& pieces,
                    PageOf page_of, FrameOf frame_of) {
  const auto zeros = [&](std::uint64_t, std::uint64_t length) {
    pieces.push_back({nullptr, nullptr, length});
    return true;
  };
  const auto data = [&](std::uint64_t, std::uint64_t length, const FrameDigest& digest, std::uint64_t from) {
    FramePtr frame = frame_of(digest);
    if (!frame) return false;
    const ByteView bytes = piece_of(*frame, from, length, digest);
    pieces.push_back({std::move(frame), bytes.data(), length});
    return true;
  };
  for (std::uint64_t at = range.offset; at < range.end();) {
    const std::uint64_t within = at % region_bytes;
    const std::uint64_t length = std::min(range.end() - at, region_bytes - within);
    const std::optional<PagePtr> page = page_of(at / region_bytes);
    if (!page) return false;
    if (!(*page ? walk_page(**page, within, length, zeros, data) : zeros(0, length))) return false;
    at += length;
  }
  return true;
}

}  // namespace

void ImageReader::pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const {
  state_->check_range(offset, length);
  collect_pieces(
      state_->map.root().region_bytes, {offset, length}, pieces,
      [&](std::uint64_t region) { return std::optional(state_->page(region)); },
      [&](const FrameDigest& digest) { return state_->frame(digest); });
}

bool ImageReader::try_pieces(std::uint64_t offset, std::uint64_t length,
                             std::vector<ImagePiece>& pieces) const {
  state_->check_range(offset, length);
  return collect_pieces(
      state_->map.root().region_bytes, {offset, length}, pieces,
      [&](std::uint64_t region) { return state_->pages.find(region); },
      [&](const FrameDigest& digest) { return state_->cache->find(digest); });
}

std::vector<AllocationRun> ImageReader::allocation(std::uint64_t offset, std::uint64_t length) const {
  state_->check_range(offset, length);
  std::vector<AllocationRun> runs;
  const auto add = [&](std::uint64_t bytes, bool zero) {
    if (!runs.empty() && runs.back().zero == zero) {
      runs.back().length += bytes;
    } else {
      runs.push_back({bytes, zero});
    }
    return true;
  };
  const std::uint64_t region_bytes = state_->map.root().region_bytes;
  while (length > 0) {
    const std::uint64_t within = offset % region_bytes;
    const std::uint64_t piece = std::min(length, region_bytes - within);
    if (const PagePtr page = state_->page(offset / region_bytes)) {
      walk_page(
          *page, within, piece, [&](std::uint64_t, std::uint64_t bytes) { return add(bytes, true); },
          [&](std::uint64_t, std::uint64_t bytes, const FrameDigest&, std::uint64_t) {
            return add(bytes, false);
          });
    } else {
      add(piece, true);
    }
    offset += piece;
    length -= piece;
  }
  return runs;
}

std::vector<FrameDigest> ImageReader::frames(std::uint64_t offset, std::uint64_t length) const {
  state_->check_range(offset, length);
  std::vector<FrameDigest> found;
  const std::uint64_t region_bytes = state_->map.root().region_bytes;
  while (length > 0) {
    const std::uint64_t within = offset % region_bytes;
    const std::uint64_t piece = std::min(length, region_bytes - within);
    if (const PagePtr page = state_->page(offset / region_bytes)) {
      walk_page(
          *page, within, piece, [](std::uint64_t, std::uint64_t) { return true; },
          [&](std::uint64_t, std::uint64_t, const FrameDigest& digest, std::uint64_t) {
            if (std::ranges::find(found, digest) == found.end()) found.push_back(digest);
            return true;
          });
    }
    offset += piece;
    length -= piece;
  }
  return found;
}

FramePtr ImageReader::frame(const FrameDigest& digest) const { return state_->frame(digest); }

FrameLocation ImageReader::place(const FrameDigest& digest) const {
  const auto locations = state_->map.places().find(digest);
  if (locations.empty()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} has no place for frame {}", state_->map.places().key(), digest.hex()));
  }
  return locations.front();
}

void ImageReader::prefetch(std::uint64_t offset, std::uint64_t length) const {
  for (const FrameDigest& digest : frames(offset, length)) static_cast<void>(state_->frame(digest));
}

}  // namespace vmpack
