// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/impact.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

class ImpactFinder {
 public:
  ImpactFinder(const Repository& repository, const VerifyReport& report)
      : repository_(repository), store_(repository.store()), references_(repository.references()) {
    for (const DamagedFrame& frame : report.damaged_frames) suspect_packs_.insert(frame.location.pack);
    for (const PackDigest& pack : report.damaged_packs) suspect_packs_.insert(pack);
    for (const VerifyFinding& finding : report.damage) damaged_files_.insert(finding.file);
    for (const PackDigest& pack : list_packs(store_)) packs_.insert(pack);
  }

  Impact run(Progress& progress) {
    progress.begin("looking for what is affected", 0);
    std::vector<SnapshotDigest> snapshots = repository_.snapshots();
    for (const ReferenceEntry& entry : references_) snapshots.push_back(entry.snapshot);  // also without one
    std::ranges::sort(snapshots);
    const auto same = std::ranges::unique(snapshots);
    snapshots.erase(same.begin(), same.end());
    for (const SnapshotDigest& snapshot : snapshots) check(snapshot);
    progress.end();
    return std::move(impact_);
  }

 private:
  void check(const SnapshotDigest& snapshot) {
    AffectedSnapshot affected;
    affected.snapshot = snapshot;
    seen_.clear();
    try {
      const Manifest manifest = repository_.manifest(snapshot);
      const MapReader map(store_, snapshot, manifest.map);
      const auto table = file_table_of(repository_, snapshot, manifest);
      if (!may_be_affected(map.places(), manifest, table)) return;
      std::vector<ByteRange> lost = unreadable(map);
      sort_and_join(lost);
      affected.bytes = total_bytes(lost);
      find_files(map.places(), table, lost, affected);
      if (lost.empty() && affected.files_known == table.has_value()) return;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      affected.unusable = error.what();
    }
    for (const ReferenceEntry& entry : references_) {
      if (entry.snapshot == snapshot) affected.references.push_back(entry.name);
    }
    for (const std::size_t frame : seen_) impact_.frames[frame].snapshots.push_back(impact_.snapshots.size());
    impact_.snapshots.push_back(std::move(affected));
  }

  bool may_be_affected(const Places& places, const Manifest& manifest,
                       const std::optional<FileTableDigest>& table) {
    places_damaged_ = damaged_files_.contains(places.key());
    return places_damaged_ || damaged_files_.contains(map_key(manifest.map)) ||
           (table && damaged_files_.contains(file_table_key(*table))) ||
           std::ranges::any_of(places.packs(), [&](const PackDigest& pack) { return is_suspect(pack); });
  }

  bool is_suspect(const PackDigest& pack) const {
    return suspect_packs_.contains(pack) || !packs_.contains(pack);
  }

  /// What of the image cannot be read.
  std::vector<ByteRange> unreadable(const MapReader& map) {
    const MapRoot& root = map.root();
    std::vector<ByteRange> lost;
    const auto lose = [&](std::uint64_t start, std::uint64_t bytes) {
      lost.push_back({start, std::min(start + bytes, root.image_bytes) - start});
    };
    const std::uint64_t directory_bytes = root.regions_per_directory * root.region_bytes;
    for (const MapChild& child : root.directories) {
      const std::uint64_t start = child.index * directory_bytes;
      if (!is_readable(map.places(), child.frame)) {
        lose(start, directory_bytes);
        continue;
      }
      const MapDirectory directory = map.directory_in(child.frame);
      for (const MapChild& entry : directory.pages) {
        const std::uint64_t region = start + entry.index * root.region_bytes;
        if (!is_readable(map.places(), entry.frame)) {
          lose(region, root.region_bytes);
        } else {
          lose_runs(map.places(), map.page(entry.frame), region, lost);
        }
      }
    }
    return lost;
  }

  void lose_runs(const Places& places, const MapPage& page, std::uint64_t region,
                 std::vector<ByteRange>& lost) {
    std::vector<bool> readable;
    for (const FrameDigest& frame : page.frames) readable.push_back(is_readable(places, frame));
    for (const PageRun& run : page.runs) {
      if (!readable[run.frame])
        lost.push_back({region + run.start * kSectorBytes, run.length * kSectorBytes});
    }
  }

  /// Reads it only where there is doubt, and each such frame once.
  bool is_readable(const Places& places, const FrameDigest& frame) {
    auto known = frames_.find(frame);
    if (known == frames_.end()) known = frames_.emplace(frame, find_fault(places, frame)).first;
    if (!known->second) return true;
    if (std::ranges::find(seen_, *known->second) == seen_.end()) seen_.push_back(*known->second);
    return false;
  }

  /// The position of its fault in impact_.frames, or nullopt.
  std::optional<std::size_t> find_fault(const Places& places, const FrameDigest& frame) {
    const auto locations = places.find(frame);
    // What stands on damage lies in a pack that verify told of, too.
    const bool in_doubt =
        locations.empty() || places_damaged_ ||
        std::ranges::any_of(locations, [&](const auto& place) { return is_suspect(place.pack); });
    try {
      if (in_doubt) static_cast<void>(read_placed_frame(places, frame));
      return std::nullopt;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      impact_.frames.push_back(
          {frame, locations.empty() ? places.key() : pack_key(locations.back().pack), error.what(), {}});
      return impact_.frames.size() - 1;
    }
  }

  void find_files(const Places& places, const std::optional<FileTableDigest>& table,
                  const std::vector<ByteRange>& lost, AffectedSnapshot& affected) const {
    affected.outside_files = affected.bytes;
    if (!table) return;
    try {
      for_each_file(store_, places, *table, [&](std::uint32_t volume, const FileRecord& file) {
        std::uint64_t bytes = 0;
        for (const FileExtent& extent : file.entry.extents) {
          bytes += overlap(lost, {extent.disk_offset, extent.length});
        }
        if (bytes == 0) return;
        affected.files.push_back({volume, file.entry.path, bytes});
        affected.outside_files -= std::min(affected.outside_files, bytes);
      });
      affected.files_known = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
    }
  }

  const Repository& repository_;
  Store& store_;
  std::vector<ReferenceEntry> references_;
  std::unordered_set<PackDigest, DigestHash> suspect_packs_;
  std::unordered_set<PackDigest, DigestHash> packs_;  // that are there
  std::unordered_set<std::string> damaged_files_;
  bool places_damaged_ = false;  // of the snapshot that is looked at
  std::unordered_map<FrameDigest, std::optional<std::size_t>, DigestHash> frames_;
  std::vector<std::size_t> seen_;  // in impact_.frames, that the snapshot needs
  Impact impact_;
};

}  // namespace

Impact find_impact(const Repository& repository, const VerifyReport& report, Progress& progress) {
  return ImpactFinder(repository, report).run(progress);
}

}  // namespace vmpack
