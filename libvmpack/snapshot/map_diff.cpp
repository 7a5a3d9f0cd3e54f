// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/map_diff.hpp"

#include <algorithm>

namespace vmpack {
namespace {

bool same_regions(const MapRoot& a, const MapRoot& b) {
  return a.region_bytes == b.region_bytes && a.regions_per_directory == b.regions_per_directory;
}

bool has_child(const MapRoot& root, const MapChild& child) {
  const auto found = std::ranges::lower_bound(root.directories, child.index, {}, &MapChild::index);
  return found != root.directories.end() && found->index == child.index && found->frame == child.frame;
}

/// Pages of one map, without those in directories that the other map has too.
std::vector<PagePlace> pages_of(const MapNodes& nodes, const MapRoot& other) {
  const MapRoot& root = nodes.root;
  const bool comparable = same_regions(root, other);
  std::vector<PagePlace> pages;
  for (const MapChild& child : root.directories) {
    if (comparable && has_child(other, child)) continue;
    for (const MapChild& page : nodes.directory(child.index).pages) {
      const std::uint64_t region = std::uint64_t{child.index} * root.regions_per_directory + page.index;
      pages.push_back({region * root.region_bytes, page.frame});
    }
  }
  return pages;
}

/// Finds for ascending offsets the page that covers them.
class PageCursor {
 public:
  PageCursor(std::vector<PagePlace> pages, std::uint64_t region_bytes)
      : pages_(std::move(pages)), region_bytes_(region_bytes) {}

  /// The first byte from `at` on that a page covers; UINT64_MAX when there is none.
  [[nodiscard]] std::uint64_t next(std::uint64_t at) {
    while (next_ < pages_.size() && pages_[next_].region_start + region_bytes_ <= at) ++next_;
    return next_ == pages_.size() ? UINT64_MAX : std::max(at, pages_[next_].region_start);
  }
  /// After next(at).
  [[nodiscard]] std::optional<PagePlace> at(std::uint64_t at) const {
    if (next_ == pages_.size() || pages_[next_].region_start > at) return std::nullopt;
    return pages_[next_];
  }

 private:
  std::vector<PagePlace> pages_;
  std::uint64_t region_bytes_;
  std::size_t next_ = 0;
};

bool same_page(const std::optional<PagePlace>& before, const std::optional<PagePlace>& after) {
  return before && after && before->region_start == after->region_start && before->frame == after->frame;
}

/// Tells for ascending offsets where their bytes are stored.
class RunCursor {
 public:
  RunCursor(const MapPage* page, const std::optional<PagePlace>& place)
      : page_(page), region_start_(place ? place->region_start : 0) {}

  struct Stretch {
    std::uint64_t end = UINT64_MAX;
    std::optional<FrameSpot> spot;
  };
  /// What begins at `at`, and how far that goes.
  [[nodiscard]] Stretch at(std::uint64_t at) {
    if (page_ == nullptr) return {};
    const auto end_of = [&](const PageRun& run) {
      return region_start_ + (std::uint64_t{run.start} + run.length) * kSectorBytes;
    };
    while (next_ < page_->runs.size() && end_of(page_->runs[next_]) <= at) ++next_;
    if (next_ == page_->runs.size()) return {};
    const PageRun& run = page_->runs[next_];
    const std::uint64_t start = region_start_ + run.start * kSectorBytes;
    if (start > at) return {start, std::nullopt};
    return {end_of(run),
            FrameSpot{page_->frames[run.frame], static_cast<std::uint32_t>(run.offset + (at - start))}};
  }

 private:
  const MapPage* page_;
  std::uint64_t region_start_;
  std::size_t next_ = 0;
};

}  // namespace

std::vector<PagePair> different_pages(const MapNodes& before, const MapNodes& after) {
  const std::uint64_t step = std::min(before.root.region_bytes, after.root.region_bytes);
  // As long as no page of a larger region is let go, both lists have all pages that a step needs.
  PageCursor old_pages(pages_of(before, after.root), before.root.region_bytes);
  PageCursor new_pages(pages_of(after, before.root), after.root.region_bytes);
  std::vector<PagePair> pairs;
  for (std::uint64_t at = 0;; at += step) {
    at = std::min(old_pages.next(at), new_pages.next(at));
    if (at == UINT64_MAX) return pairs;
    PagePair pair{{at, step}, old_pages.at(at), new_pages.at(at)};
    if (!same_page(pair.before, pair.after)) pairs.push_back(pair);
  }
}

void for_each_difference(const PagePair& pair, const MapPage* before, const MapPage* after,
                         const std::function<void(const MapDifference&)>& each) {
  RunCursor old_runs(before, pair.before);
  RunCursor new_runs(after, pair.after);
  for (std::uint64_t at = pair.disk.offset; at < pair.disk.end();) {
    const auto old_stretch = old_runs.at(at);
    const auto new_stretch = new_runs.at(at);
    const std::uint64_t end = std::min({old_stretch.end, new_stretch.end, pair.disk.end()});
    if (old_stretch.spot != new_stretch.spot) each({{at, end - at}, old_stretch.spot, new_stretch.spot});
    at = end;
  }
}

}  // namespace vmpack
