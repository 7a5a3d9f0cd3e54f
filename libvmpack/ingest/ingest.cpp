// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/ingest.hpp"

#include <fmt/core.h>
#include <chrono>
#include <future>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/ingest/commit.hpp"
#include "libvmpack/ingest/file_contents.hpp"
#include "libvmpack/ingest/pipeline.hpp"
#include "libvmpack/inspect/appliance_volumes.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/places_update.hpp"

namespace vmpack {
namespace {

/// Refuses to discard where that could lose data.
void refuse_unsafe_discard(const Layout& layout) {
  for (const Volume& volume : layout.volumes) {
    if (volume.inspected && volume.dirty) {
      throw Error(
          ErrorCode::kRefused,
          fmt::format("the {} file system of {} was not cleanly unmounted: what it calls free may be in use",
                      volume.type, name_of(volume)),
          "check it with fsck first, or ingest without --discard-free");
    }
    if (volume.type == "swsuspend") {
      throw Error(ErrorCode::kRefused,
                  fmt::format("the swap space of {} holds a suspended system", name_of(volume)),
                  "resume and shut it down first, or ingest without --discard-free");
    }
  }
}

/// Tells where there is nothing to discard.
void warn_of_kept(const Layout& layout, Progress& progress) {
  for (const Volume& volume : layout.volumes) {
    if (volume.inspected && !free_is_discardable(volume)) {
      progress.warn(
          fmt::format("{}: what it calls free is not certain, so all of it is kept", name_of(volume)));
    }
  }
}

/// Where the volumes lie that are known only when the appliance is done; sorted, in whole sectors.
std::vector<ByteRange> ranges_for_appliance(const Layout& layout) {
  std::vector<ByteRange> ranges;
  for (const Volume& volume : layout.volumes) {
    if (needs_appliance(volume)) ranges.push_back(volume.range);
  }
  return ranges;
}

/// One ingest from the plan to the commit.
class Ingest {
 public:
  Ingest(const std::shared_ptr<const Repository>& repository, Source& source, Layout layout,
         const ReferenceName& name, const IngestOptions& options, Progress& progress)
      : repository_(*repository),
        source_(source),
        layout_(std::move(layout)),
        options_(options),
        progress_(progress),
        session_(repository_),
        index_(ObjectIndex::open(repository_, session_.condemned_packs())),
        older_(repository, name, layout_),
        claims_(repository_.store(), session_.lease_id()),
        packer_(repository_, *index_, &older_, options.level, &claims_),
        contents_(layout_) {}

  IngestResult run(const ReferenceName& name, ApplianceSession* appliance) {
    if (options_.discard_free) {
      result_.manifest.discarded.emplace();
      refuse_unsafe_discard(layout_);
    }
    const std::vector<ByteRange> image{{0, layout_.image_bytes}};
    const std::vector<ByteRange> later =
        appliance == nullptr ? std::vector<ByteRange>{} : ranges_for_appliance(layout_);
    pack_only(without(image, later));
    if (!later.empty()) {
      complete_layout(*appliance);
      pack_only(later);
    }
    if (options_.discard_free) warn_of_kept(layout_, progress_);
    commit(name);
    result_.added = packer_.statistics();
    return std::move(result_);
  }

 private:
  void complete_layout(ApplianceSession& appliance) {
    progress_.begin("reading volumes", 0);
    appliance.complete(layout_, progress_);
    progress_.end();
    if (options_.discard_free) refuse_unsafe_discard(layout_);
    contents_.make_room();
  }

  void pack_only(std::vector<ByteRange> ranges) {
    const std::vector<ByteRange> data = source_.data_ranges(0, source_.size());
    const Plan plan =
        make_plan(layout_, data,
                  {repository_.parameters().whole_file_bytes_max, options_.discard_free, std::move(ranges)});
    result_.files_rejected += plan.files_rejected;
    if (auto& discarded = result_.manifest.discarded) {
      discarded->free += plan.discarded.free;
      discarded->swap += plan.discarded.swap;
    }
    pack_plan(plan, layout_, source_, packer_, repository_.parameters(), progress_,
              [&](const Window& window) {
                contents_.add(window);
                count_classes(window, result_.manifest.classes);
                result_.objects += window.objects.size();
              });
  }

  void describe_image() {
    Manifest& manifest = result_.manifest;
    manifest.image_bytes = source_.size();
    manifest.source_format = source_.facts().format;
    manifest.table = layout_.table;
    for (const Volume& volume : layout_.volumes) manifest.volumes.push_back(summarize(volume));
    for (const ClassStatistics& statistics : manifest.classes) manifest.data_bytes += statistics.bytes;
    manifest.labels = options_.labels;
  }

  void commit(const ReferenceName& name) {
    Store& store = repository_.store();
    Manifest& manifest = result_.manifest;
    describe_image();
    auto records = std::async(std::launch::async, [this] { return contents_.take_records(); });
    const std::vector<MapSegment> segments = packer_.take_segments();
    const MapRoot root = build_block_map(
        manifest.image_bytes, segments, packer_.frame_digests(),
        [&](Bytes node) { return packer_.store_single(ObjectClass::kMapNode, std::move(node)); });
    const FileTableRoot files = build_file_table_pages(records.get(), packer_);
    packer_.finish();

    manifest.map = put_map_root(store, root);
    if (files.file_count > 0) manifest.files = put_file_table_root(store, files);
    const std::string text = to_json(manifest);
    result_.snapshot = SnapshotDigest(sha256(as_byte_view(text)));
    put_places(store, result_.snapshot, packer_.places());
    require_stored(store, packer_.relied_on());
    store.put_if_absent(manifest_key(result_.snapshot), as_byte_view(text));
    session_.commit(name, result_.snapshot, options_.force);
  }

  const Repository& repository_;
  Source& source_;
  Layout layout_;
  const IngestOptions& options_;
  Progress& progress_;
  WriterSession session_;
  std::unique_ptr<ObjectIndex> index_;
  OlderSnapshot older_;
  WriterClaims claims_;
  Packer packer_;
  FileContents contents_;
  IngestResult result_;
};

}  // namespace

IngestResult ingest(const std::shared_ptr<const Repository>& repository, Source& source, Layout layout,
                    const ReferenceName& name, const IngestOptions& options, Progress& progress,
                    ApplianceSession* appliance) {
  const auto start = std::chrono::steady_clock::now();
  require_free_name(*repository, name, options.force);
  IngestResult result =
      Ingest(repository, source, std::move(layout), name, options, progress).run(name, appliance);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

VolumeSummary summarize(const Volume& volume) {
  VolumeSummary summary;
  summary.offset = volume.range.offset;
  summary.bytes = volume.pieces.empty() ? volume.range.length : total_bytes(volume.pieces);
  summary.name = volume.name;
  summary.number = volume.number;
  summary.type = volume.type;
  summary.label = volume.label;
  summary.uuid = volume.uuid;
  summary.inspected = volume.inspected;
  summary.file_count = volume.files.size();
  summary.free_bytes = total_bytes(volume.free);
  return summary;
}

}  // namespace vmpack
