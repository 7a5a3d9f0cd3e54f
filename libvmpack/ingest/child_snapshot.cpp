// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/child_snapshot.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/commit.hpp"
#include "libvmpack/ingest/compare.hpp"
#include "libvmpack/ingest/parent_layout.hpp"
#include "libvmpack/ingest/pipeline.hpp"
#include "libvmpack/ingest/snapshot_source.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/block_map_update.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kCacheBytes = 96 * kMiB;

void require_size(const ParentSnapshot& parent, const Source& source) {
  if (source.size() >= parent.manifest.image_bytes) return;
  throw Error(ErrorCode::kRefused,
              fmt::format("{} is a disk of {}, smaller than the {} of what it shall be a child of",
                          source.facts().location, format_bytes(source.size()),
                          format_bytes(parent.manifest.image_bytes)),
              "ingest the whole image without a parent");
}

/// One child, from what differs to the commit.
class Child {
 public:
  /// `layout`: the files to cut along.
  Child(const ParentSnapshot& parent, Source& source, const Layout& layout, const IngestOptions& options,
        Progress& progress)
      : parent_(parent),
        repository_(*parent.repository),
        source_(source),
        layout_(layout),
        options_(options),
        progress_(progress),
        session_(repository_),
        index_(ObjectIndex::open(repository_, session_.condemned_packs())),
        older_(parent.repository, parent.snapshot, parent.cache, layout),
        claims_(repository_.store(), session_.lease_id()),
        packer_(repository_, *index_, &older_, options.level, &claims_) {}

  /// `readable`: what of the source may be read.
  void pack(const Difference& difference, std::span<const ByteRange> readable) {
    const std::vector<ByteRange> only = widen_to_files(layout_, difference.data, readable);
    result_.changed = only;
    result_.changed.insert(result_.changed.end(), difference.zeroed.begin(), difference.zeroed.end());
    sort_and_join(result_.changed);
    manifest().changed = {total_bytes(difference.data), total_bytes(difference.zeroed)};
    const std::vector<ByteRange> data = source_.data_ranges(0, source_.size());
    const Plan plan = make_plan(
        layout_, data, {repository_.parameters().whole_file_bytes_max, false, only, /*changes=*/true});
    pack_plan(plan, layout_, source_, packer_, repository_.parameters(), progress_,
              [&](const Window& window) {
                count_classes(window, manifest().classes);
                result_.ingest.objects += window.objects.size();
              });
  }

  ChildResult commit(std::vector<VolumeSummary> volumes, const ReferenceName& name) {
    Store& store = repository_.store();
    manifest().image_bytes = source_.size();
    manifest().source_format = source_.facts().format;
    manifest().table = layout_.table;
    manifest().volumes = std::move(volumes);
    manifest().parent = parent_.snapshot;
    manifest().labels = options_.labels;
    const MapRoot root = update_map();
    packer_.finish();
    manifest().map = put_map_root(store, root);
    const std::string text = to_json(manifest());
    result_.ingest.snapshot = SnapshotDigest(sha256(as_byte_view(text)));
    add_to_places(repository_, result_.ingest.snapshot, manifest(), packer_.places());
    require_stored(store, packer_.relied_on());
    store.put_if_absent(manifest_key(result_.ingest.snapshot), as_byte_view(text));
    session_.commit(name, result_.ingest.snapshot, options_.force);
    result_.ingest.added = packer_.statistics();
    return std::move(result_);
  }

 private:
  Manifest& manifest() { return result_.ingest.manifest; }

  MapRoot update_map() {
    const MapReader map(repository_.store(), parent_.snapshot, parent_.manifest.map);
    const ParentMap before{map.root(), [&](const FrameDigest& frame) { return map.directory_in(frame); },
                           [&](const FrameDigest& frame) { return map.page(frame); }};
    const std::vector<MapSegment> segments = packer_.take_segments();
    UpdatedMap updated = update_block_map(
        before, source_.size(), result_.changed, segments, packer_.frame_digests(),
        [&](Bytes node) { return packer_.store_single(ObjectClass::kMapNode, std::move(node)); });
    const std::uint64_t sum = parent_.manifest.data_bytes + updated.bytes_after;
    manifest().data_bytes = sum - std::min(sum, updated.bytes_before);
    return std::move(updated.root);
  }

  const ParentSnapshot& parent_;
  const Repository& repository_;
  Source& source_;
  const Layout& layout_;
  const IngestOptions& options_;
  Progress& progress_;
  WriterSession session_;
  std::unique_ptr<ObjectIndex> index_;
  OlderSnapshot older_;
  WriterClaims claims_;
  Packer packer_;
  ChildResult result_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

ParentSnapshot open_parent(std::shared_ptr<const Repository> repository, const SnapshotDigest& snapshot) {
  ParentSnapshot parent;
  parent.repository = repository;
  parent.snapshot = snapshot;
  parent.manifest = repository->manifest(snapshot);
  parent.cache = std::make_shared<FrameCache>(kCacheBytes);
  parent.source = open_snapshot_source(std::move(repository), snapshot, parent.cache);
  return parent;
}

ChildResult snapshot_changes(const ParentSnapshot& parent, const Changes& changes, const ReferenceName& name,
                             const IngestOptions& options, Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  require_free_name(*parent.repository, name, options.force);
  require_size(parent, *changes.source);
  const Difference difference = compare(*changes.source, *parent.source, changes.ranges, progress);
  Layout layout = recorded_layout(*parent.repository, parent.snapshot, difference.data, progress);
  layout.image_bytes = changes.source->size();
  Child child(parent, *changes.source, layout, options, progress);
  child.pack(difference, changes.ranges);
  ChildResult result = child.commit(parent.manifest.volumes, name);
  result.ingest.seconds = seconds_since(start);
  return result;
}

ChildResult ingest_child(const ParentSnapshot& parent, Source& image, const Layout& layout,
                         const ReferenceName& name, const IngestOptions& options, Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  require_free_name(*parent.repository, name, options.force);
  require_size(parent, image);
  const std::vector<ByteRange> all{{0, image.size()}};
  const Difference difference = compare(image, *parent.source, all, progress);
  Child child(parent, image, layout, options, progress);
  child.pack(difference, all);
  std::vector<VolumeSummary> volumes;
  for (const Volume& volume : layout.volumes) volumes.push_back(summarize(volume));
  ChildResult result = child.commit(std::move(volumes), name);
  result.ingest.seconds = seconds_since(start);
  return result;
}

}  // namespace vmpack
