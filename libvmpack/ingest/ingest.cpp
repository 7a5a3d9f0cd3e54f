// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/ingest.hpp"

#include <fmt/core.h>
#include <tbb/parallel_pipeline.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <numeric>
#include <tuple>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/appliance_volumes.hpp"
#include "libvmpack/partition/classify.hpp"
#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kWindowsInFlight = 3;

/// What travels through the pipeline.
struct Batch {
  Window window;
  std::vector<FramePlan> frames;
};
using BatchPtr = std::shared_ptr<Batch>;

/// Ranks of the window's parts in the order in which their new objects meet in frames: by class, then by kind
/// of file, then as they lie on the disk, where a file system keeps a folder's files together.
std::vector<std::uint64_t> frame_order(const Window& window, const Layout& layout) {
  const auto key = [&](std::size_t i) {
    const Part& part = window.parts[i];
    const auto extension = part.file == Part::kNoFile
                               ? std::string_view{}
                               : file_extension(layout.volumes[part.volume].files[part.file].path);
    return std::tuple(part.object_class, extension, i);
  };
  std::vector<std::size_t> sorted(window.parts.size());
  std::iota(sorted.begin(), sorted.end(), std::size_t{0});
  std::ranges::sort(sorted, {}, key);
  std::vector<std::uint64_t> ranks(sorted.size());
  for (std::size_t rank = 0; rank < sorted.size(); ++rank) ranks[sorted[rank]] = rank;
  return ranks;
}

/// Collects what the file table says of each file's content.
class FileContents {
 public:
  explicit FileContents(const Layout& layout) : layout_(layout) { make_room(); }

  /// After the layout got more files: none that it had may have changed its place.
  void make_room() {
    pieces_.resize(layout_.volumes.size());
    for (std::size_t i = 0; i < pieces_.size(); ++i) pieces_[i].resize(layout_.volumes[i].files.size());
  }

  void add(const Window& window) {
    for (const CutObject& object : window.objects) {
      const Part& part = window.parts[object.part];
      if (part.file == Part::kNoFile || object.slack) continue;
      pieces_[part.volume][part.file].push_back(
          {part.file_offset + object.part_offset, object.bytes, object.digest});
    }
  }

  /// The records of each volume's files, sorted by path. Leaves nothing here.
  [[nodiscard]] std::vector<std::vector<FileRecord>> take_records() {
    std::vector<std::vector<FileRecord>> all(layout_.volumes.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] = records(i);
      pieces_[i] = {};
    }
    return all;
  }

 private:
  struct Piece {
    std::uint64_t offset;
    std::uint64_t bytes;
    ObjectDigest digest;
  };

  [[nodiscard]] std::vector<FileRecord> records(std::size_t volume) {
    std::vector<FileRecord> records;
    records.reserve(layout_.volumes[volume].files.size());
    for (std::size_t i = 0; i < layout_.volumes[volume].files.size(); ++i) {
      records.push_back(
          {layout_.volumes[volume].files[i], content(pieces_[volume][i], layout_.volumes[volume].files[i])});
    }
    const auto path = [](const FileRecord& record) -> const std::string& { return record.entry.path; };
    if (!std::ranges::is_sorted(records, {}, path)) std::ranges::stable_sort(records, {}, path);
    return records;
  }

  static std::optional<Digest> content(std::vector<Piece>& pieces, const FileEntry& file) {
    if (pieces.empty()) return std::nullopt;
    if (pieces.size() == 1 && pieces[0].offset == 0 && pieces[0].bytes == file.size) return pieces[0].digest;
    std::ranges::sort(pieces, {}, &Piece::offset);
    Sha256 hasher;
    for (const Piece& piece : pieces) {
      hasher.update(struct_bytes(piece.offset));
      hasher.update(struct_bytes(piece.bytes));
      hasher.update(std::as_bytes(std::span(piece.digest.bytes)));
    }
    return hasher.finish();
  }

  const Layout& layout_;
  std::vector<std::vector<std::vector<Piece>>> pieces_;
};

void count_classes(const Window& window, std::array<ClassStatistics, kObjectClassCount>& classes) {
  for (const CutObject& object : window.objects) {
    if (object.zero || object.slack) continue;
    ClassStatistics& statistics = classes[static_cast<std::size_t>(window.parts[object.part].object_class)];
    ++statistics.objects;
    statistics.bytes += object.bytes;
  }
}

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
        index_(ObjectIndex::open(repository_.store())),
        older_(repository, name, layout_),
        packer_(repository_, *index_, &older_, options.level),
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
    progress_.begin("packing", bytes_of(plan));
    pack(plan);
    progress_.end();
  }

  void pack(const Plan& plan) {
    std::span<const Part> rest(plan.parts);
    const auto read = [&](tbb::flow_control& control) -> BatchPtr {
      if (rest.empty()) {
        control.stop();
        return nullptr;
      }
      const std::size_t count = next_window(rest);
      auto batch = std::make_shared<Batch>();
      batch->window = read_window(source_, rest.first(count), buffers_);
      rest = rest.subspan(count);
      return batch;
    };
    const auto cut = [&](BatchPtr batch) {
      cut_window(batch->window, repository_.parameters());
      return batch;
    };
    const auto plan_frames = [&](BatchPtr batch) {
      contents_.add(batch->window);
      count_classes(batch->window, result_.manifest.classes);
      result_.objects += batch->window.objects.size();
      batch->frames = packer_.plan(batch->window, frame_order(batch->window, layout_));
      return batch;
    };
    const auto encode = [&](BatchPtr batch) {
      packer_.encode(batch->window, batch->frames);
      progress_.advance(batch->window.content.size());
      return batch;
    };
    const auto store = [&](const BatchPtr& batch) { packer_.store(std::move(batch->frames)); };
    using tbb::filter_mode;
    tbb::parallel_pipeline(
        kWindowsInFlight,
        tbb::make_filter<void, BatchPtr>(filter_mode::serial_in_order, read) &
            tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::parallel, cut) &
            tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::serial_in_order, plan_frames) &
            tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::parallel, encode) &
            tbb::make_filter<BatchPtr, void>(filter_mode::serial_in_order, store));
  }

  FileTableRoot store_file_table(const std::vector<std::vector<FileRecord>>& records) {
    FileTableRoot root;
    for (std::uint32_t i = 0; i < records.size(); ++i) {
      if (records[i].empty()) continue;
      root.file_count += records[i].size();
      root.volumes.push_back(build_file_table(i, records[i], [&](Bytes page) {
        return packer_.store_single(ObjectClass::kFileTable, std::move(page));
      }));
    }
    return root;
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
    const FileTableRoot files = store_file_table(records.get());
    packer_.finish();

    const Bytes map_bytes = encode(root);
    manifest.map = MapDigest(sha256(map_bytes));
    store.put_if_absent(map_key(manifest.map), map_bytes);
    if (files.file_count > 0) {
      const Bytes file_bytes = encode(files);
      manifest.files = FileTableDigest(sha256(file_bytes));
      store.put_if_absent(file_table_key(*manifest.files), file_bytes);
    }
    const std::string text = to_json(manifest);
    result_.snapshot = SnapshotDigest(sha256(as_byte_view(text)));
    put_places(store);
    store.put_if_absent(manifest_key(result_.snapshot), as_byte_view(text));
    repository_.set_reference(name, result_.snapshot, options_.force);
  }

  /// A snapshot that exists already may have its frames elsewhere by now: these places are as good, and known
  /// to be there.
  void put_places(Store& store) {
    const std::string key = places_key(result_.snapshot);
    const Bytes bytes = encode_places(result_.snapshot, packer_.places());
    while (true) {
      StoreStat stat;
      std::optional<StoreVersion> version;
      try {
        if (store.get(key, limits::kPlacesFileBytesMax, &stat) == bytes) return;
        version = stat.version;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) throw;
      }
      if (store.replace_if_version(key, bytes, version)) return;
    }
  }

  const Repository& repository_;
  Source& source_;
  Layout layout_;
  const IngestOptions& options_;
  Progress& progress_;
  std::unique_ptr<ObjectIndex> index_;
  OlderSnapshot older_;
  Packer packer_;
  FileContents contents_;
  BufferPool buffers_{kWindowBytesMax};
  IngestResult result_;
};

}  // namespace

IngestResult ingest(const std::shared_ptr<const Repository>& repository, Source& source, Layout layout,
                    const ReferenceName& name, const IngestOptions& options, Progress& progress,
                    ApplianceSession* appliance) {
  const auto start = std::chrono::steady_clock::now();
  if (!options.force && repository->find(name)) {
    throw Error(ErrorCode::kAlreadyExists, fmt::format("{} exists already", name.text()),
                "choose another tag, or move it with --force");
  }
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
