// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/export.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kExportFormat = "vmpack-export";
constexpr std::string_view kRepositoryKey = "vmpack.json";

/// What the other side has: the frames of snapshots that are there.
class KnownSnapshots {
 public:
  KnownSnapshots(const std::shared_ptr<const Repository>& source, std::span<const SnapshotDigest> known) {
    const CopyPlan plan({source, locate_by_places(source->store(), known),
                         [](const FrameNumbers&, const FoundFrame&) {}, nullptr},
                        known);
    for (const PlannedFrame& frame : plan.frames()) frames_.insert(frame.digest);
  }

  void find(const FrameNumbers& wanted, const FoundFrame& found) const {
    for (const auto& [frame, number] : wanted) {
      if (frames_.contains(frame)) found({frame, {}}, {});
    }
  }

 private:
  std::unordered_set<FrameDigest, DigestHash> frames_;
};

std::string contents_text(std::span<const CopyItem> items, std::span<const SnapshotDigest> known) {
  OrderedJson json = {{"format", kExportFormat},
                      {"version", kFormatVersion},
                      {"required_features", OrderedJson::array()},
                      {"references", OrderedJson::array()},
                      {"follows", OrderedJson::array()}};
  for (const CopyItem& item : items) {
    json["references"].push_back({{"reference", item.name.text()}, {"snapshot", item.snapshot.hex()}});
  }
  for (const SnapshotDigest& snapshot : known) json["follows"].push_back(snapshot.hex());
  return seal_json(dump_json(json));
}

void put_small_files(const Repository& source, const CopyPlan& plan, ExportWriter& out) {
  Store& store = source.store();
  const auto put = [&](const std::string& key, std::uint64_t bytes_max, const Digest& digest) {
    out.put_if_absent(key, get_named(store, key, bytes_max, digest));
  };
  out.put_if_absent(kRepositoryKey, store.get(kRepositoryKey, limits::kJsonBytesMax));
  for (const PlannedSnapshot& planned : plan.snapshots()) {
    put(manifest_key(planned.snapshot), limits::kJsonBytesMax, planned.snapshot);
    put(map_key(planned.manifest.map), limits::kMapRootBytesMax, planned.manifest.map);
    if (planned.files) put(file_table_key(*planned.files), limits::kFileTableRootBytesMax, *planned.files);
    for_each_note(store, planned.snapshot,
                  [&](const std::string& key, const Bytes& note) { out.put_if_absent(key, note); });
  }
}

void put_frames(const Repository& source, const CopyPlan& plan, ExportWriter& out, Progress& progress,
                CopyReport& report) {
  std::vector<FrameToMove> frames;
  for (const std::uint32_t number : plan.missing()) {
    frames.push_back({plan.frames()[number].digest, *plan.frames()[number].from});
  }
  FrameMover mover(
      source.store(), out, source.parameters().pack_bytes_target, WholePacks::kKept,
      [&](const FrameDigest& base) { return plan.read(base); },
      [&](const MovedPack&) { ++report.packs_new; });
  progress.begin("exporting", report.bytes_moved);
  mover.move(frames, progress);
  mover.finish();
  progress.end();
}

}  // namespace

CopyReport export_snapshots(const std::shared_ptr<const Repository>& source, std::span<const CopyItem> items,
                            std::span<const SnapshotDigest> known, ExportWriter& out, Progress& progress) {
  const KnownSnapshots there(source, known);
  const std::vector<SnapshotDigest> snapshots = snapshots_of(items);
  const CopyPlan plan(
      {source, locate_by_places(source->store(), snapshots),
       [&](const FrameNumbers& wanted, const FoundFrame& found) { there.find(wanted, found); }, nullptr},
      snapshots);
  CopyReport report = report_of(plan);
  out.put_if_absent(kExportKey, as_byte_view(contents_text(items, known)));
  put_small_files(*source, plan, out);
  put_frames(*source, plan, out, progress, report);
  out.finish();
  return report;
}

ExportContents export_contents(Store& exported) {
  const std::string where = fmt::format("{} in {}", kExportKey, exported.location());
  const Bytes bytes = exported.get(kExportKey, limits::kJsonBytesMax);
  return read_json(check_sealed_json(as_text(bytes), where), where, [&](const OrderedJson& json) {
    check_json_format(json, kExportFormat, {}, where);
    ExportContents contents;
    for (const OrderedJson& item : json.at("references")) {
      contents.items.push_back({SnapshotDigest(digest_from_json(item.at("snapshot"), where)),
                                parse_reference_name(item.at("reference").get<std::string>())});
    }
    for (const OrderedJson& snapshot : json.at("follows")) {
      contents.follows.emplace_back(digest_from_json(snapshot, where));
    }
    return contents;
  });
}

CopyReport import_snapshots(const std::shared_ptr<ExportStore>& exported, const Repository& target,
                            const CopyOptions& options, Progress& progress) {
  const ExportContents contents = export_contents(*exported);
  const auto source = Repository::open(exported);
  const auto locate = [&](std::size_t, const FrameDigest& frame) { return exported->locate(frame); };
  try {
    return copy_snapshots(source, locate, target, contents.items, options, progress);
  } catch (const Error& error) {
    const auto lacks = [&](const SnapshotDigest& snapshot) {
      return !target.store().stat(manifest_key(snapshot));
    };
    const auto lacking = std::ranges::find_if(contents.follows, lacks);
    if (error.code() != ErrorCode::kDamaged || lacking == contents.follows.end()) throw;
    throw Error(ErrorCode::kNotFound,
                fmt::format("{} follows the snapshot {}, which is not in {}", exported->location(),
                            lacking->hex(), target.store().location()),
                "import that first, or export without --since and --known-to");
  }
}

}  // namespace vmpack
