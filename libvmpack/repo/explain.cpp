// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/explain.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/versioned_path.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/disk_claims.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"
#include "libvmpack/snapshot/map_reader.hpp"
#include "libvmpack/snapshot/volume_match.hpp"

namespace vmpack {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

/// A snapshot as far as it is opened here.
struct Build {
  Build(const Repository& repository, const SnapshotDigest& snapshot)
      : manifest(repository.manifest(snapshot)),
        files(file_table_of(repository, snapshot, manifest)),
        map(repository.store(), snapshot, manifest.map) {}

  Manifest manifest;
  std::optional<FileTableDigest> files;
  MapReader map;
};

/// A file of the earlier build.
struct OldFile {
  std::optional<Digest> content;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  bool met = false;  // by the later build
};
using OldFiles = std::unordered_map<std::string, OldFile>;

/// A file of the later build.
struct NewFile {
  std::string path;
  std::uint32_t volume = 0;  // in the manifest
  std::int64_t modified_ns = 0;
  FileEvidence evidence;  // its path is not set: this one may move
  bool moved = false;
  Cost cost;
};

/// Regular files of the earlier build, volume by volume.
class OldTable {
 public:
  explicit OldTable(const Manifest& manifest) : files_(manifest.volumes.size()) {}

  void add(std::uint32_t volume, FileRecord file) {
    if (volume >= files_.size() || file.entry.type != FileType::kRegular) return;
    if (file.content) contents_.insert(*file.content);
    files_[volume].emplace(std::move(file.entry.path),
                           OldFile{file.content, file.entry.size, file.entry.modified_ns});
  }

  [[nodiscard]] OldFile* find(std::optional<std::size_t> volume, const std::string& path) {
    if (!volume) return nullptr;
    const auto found = files_[*volume].find(path);
    return found == files_[*volume].end() ? nullptr : &found->second;
  }
  [[nodiscard]] bool has_content(const Digest& content) const { return contents_.contains(content); }

  /// Paths, without their versions, of files that the later build did not meet; and how many those are.
  [[nodiscard]] std::unordered_set<std::string> gone(std::uint64_t& count) const {
    std::unordered_set<std::string> unversioned;
    for (const OldFiles& files : files_) {
      for (const auto& [path, file] : files) {
        if (file.met) continue;
        ++count;
        unversioned.insert(path_without_version(path));
      }
    }
    return unversioned;
  }

 private:
  std::vector<OldFiles> files_;
  std::unordered_set<Digest, DigestHash> contents_;
};

bool comes_with_package(Cause cause, std::string_view path) {
  return (cause == Cause::kPackage || cause == Cause::kKernel || cause == Cause::kAdded) &&
         is_package_folder(path);
}

/// The bytes that a build takes from each frame.
class FrameUses {
 public:
  explicit FrameUses(const MapReader& map) {
    map.for_each_page([&](std::uint64_t, const MapPage& page) {
      for (const PageRun& run : page.runs) {
        const std::uint64_t length = run.length * kSectorBytes;
        uses_[page.frames[run.frame]].push_back({run.offset, length});
      }
    });
    for (auto& [frame, ranges] : uses_) join(ranges);
  }

  /// In order and joined; nullptr when the build does not read that frame.
  [[nodiscard]] const std::vector<ByteRange>* find(const FrameDigest& frame) const {
    const auto found = uses_.find(frame);
    return found == uses_.end() ? nullptr : &found->second;
  }

 private:
  static void join(std::vector<ByteRange>& ranges) {
    std::ranges::sort(ranges, {}, &ByteRange::offset);
    std::size_t last = 0;
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].offset <= ranges[last].end()) {
        ranges[last].length = std::max(ranges[last].end(), ranges[i].end()) - ranges[last].offset;
      } else {
        ranges[++last] = ranges[i];
      }
    }
    ranges.resize(std::min(ranges.size(), last + 1));
  }

  std::unordered_map<FrameDigest, std::vector<ByteRange>, DigestHash> uses_;
};

/// A frame that the later build takes bytes from which the earlier one does not.
struct FreshFrame {
  std::uint64_t stored_bytes = 0;  // 0 when the earlier build reads it too
  std::uint64_t taken = 0;         // by the image, of what is not shared
  std::uint64_t given = 0;         // of `taken`, as stored bytes were split
  bool outside_files = false;
  std::optional<FrameLocation> location;
  ObjectClass object_class = ObjectClass::kOpaque;  // only where outside_files
};

/// Bytes of the later build that are not shared.
struct FreshPiece {
  ByteRange disk;
  FreshFrame* frame;
};

class Explainer {
 public:
  Explainer(const Repository& repository, const SnapshotDigest& before, const SnapshotDigest& after,
            const std::vector<PackageVersions>& packages)
      : store_(repository.store()),
        before_(repository, before),
        after_(repository, after),
        matches_(match_volumes(before_.manifest.volumes, after_.manifest.volumes)),
        old_(before_.manifest) {
    packages_.add_versions(packages);
  }

  Explanation run(std::size_t paths_max, Progress& progress) {
    progress.begin("comparing files", 0);
    read_files();
    compare_volumes();
    progress.end();
    progress.begin("comparing block maps", 0);
    compare_maps();
    find_classes();
    for (const FreshPiece& piece : pieces_) give(piece);
    progress.end();
    sum_files(paths_max);
    for (const CauseCost& cause : result_.causes) result_.fresh += cause.cost;
    return std::move(result_);
  }

 private:
  void read_files() {
    if (before_.files) {
      for_each_file(store_, before_.map.places(), *before_.files,
                    [&](std::uint32_t volume, FileRecord file) { old_.add(volume, std::move(file)); });
    }
    if (after_.files) {
      for_each_file(store_, after_.map.places(), *after_.files,
                    [&](std::uint32_t volume, FileRecord file) { add_file(volume, std::move(file)); });
    }
    file_claims_.settle();
    packages_.settle();
    find_other_versions();
  }

  void add_file(std::uint32_t volume, FileRecord file) {
    if (volume >= after_.manifest.volumes.size() || file.entry.type != FileType::kRegular) return;
    for (const FileExtent& extent : file.entry.extents) {
      file_claims_.add({extent.disk_offset, round_up(extent.length, kSectorBytes)},
                       static_cast<std::uint32_t>(files_.size()));
    }
    NewFile added;
    added.volume = volume;
    added.modified_ns = file.entry.modified_ns;
    compare_file(file, old_.find(matches_[volume], file.entry.path), added);
    packages_.add_file(file.entry.path, added.modified_ns, added.evidence.in_both,
                       added.evidence.same_content);
    added.path = std::move(file.entry.path);
    files_.push_back(std::move(added));
  }

  /// Of content without a digest (further hard links, what lies inline) only size and time can tell.
  void compare_file(const FileRecord& file, OldFile* old, NewFile& added) {
    if (old == nullptr) {
      ++result_.files.added;
      added.moved = file.content && old_.has_content(*file.content);
      if (added.moved) ++result_.files.moved;
      return;
    }
    old->met = true;
    const bool retimed = old->modified_ns != file.entry.modified_ns;
    added.evidence.in_both = true;
    added.evidence.same_content = old->size == file.entry.size && old->content == file.content &&
                                  (file.content || file.entry.size == 0 || !retimed);
    added.evidence.from_archive = retimed && file.entry.modified_ns % kNanosecondsPerSecond == 0;
    if (added.evidence.same_content) {
      ++result_.files.same;
      if (retimed) ++result_.files.retimed;
    } else {
      ++result_.files.changed;
    }
  }

  void find_other_versions() {
    const std::unordered_set<std::string> gone = old_.gone(result_.files.removed);
    for (NewFile& file : files_) {
      file.evidence.packages_stay = packages_.packages_stay();
      if (!file.evidence.in_both)
        file.evidence.other_version = gone.contains(path_without_version(file.path));
    }
  }

  void compare_volumes() {
    for (std::uint32_t i = 0; i < after_.manifest.volumes.size(); ++i) {
      const VolumeSummary& volume = after_.manifest.volumes[i];
      volume_claims_.add({volume.offset, volume.bytes}, i);
      const auto old = matches_[i];
      if (old && before_.manifest.volumes[*old].uuid != volume.uuid)
        result_.new_uuids.push_back(volume.number);
    }
    volume_claims_.settle();
  }

  void compare_maps() {
    const FrameUses old_uses(before_.map);
    after_.map.for_each_page([&](std::uint64_t region_start, const MapPage& page) {
      for (const PageRun& run : page.runs) {
        const ByteRange disk{region_start + run.start * kSectorBytes, run.length * kSectorBytes};
        compare_run(disk, page.frames[run.frame], run.offset, old_uses.find(page.frames[run.frame]));
      }
    });
  }

  /// Splits a run where what the earlier build takes of its frame begins and ends.
  void compare_run(const ByteRange& disk, const FrameDigest& frame, std::uint64_t offset,
                   const std::vector<ByteRange>* old) {
    const std::uint64_t end = offset + disk.length;
    std::uint64_t at = offset;
    const auto take = [&](std::uint64_t until, bool shared) {
      if (until <= at) return;
      const ByteRange piece{disk.offset + (at - offset), until - at};
      at = until;
      if (shared) {
        add_shared(piece);
      } else {
        add_fresh(piece, frame, old != nullptr);
      }
    };
    if (old != nullptr) {
      auto range = std::ranges::upper_bound(*old, offset, {}, &ByteRange::end);
      for (; range != old->end() && range->offset < end; ++range) {
        take(range->offset, false);
        take(std::min(range->end(), end), true);
      }
    }
    take(end, false);
  }

  void add_shared(const ByteRange& piece) {
    file_claims_.split(piece, [&](const ByteRange& range, std::uint32_t number) {
      result_.shared.*kind_of(number) += range.length;
    });
  }

  [[nodiscard]] std::uint64_t SharedBytes::* kind_of(std::uint32_t file) const {
    if (file == DiskClaims::kNobody) return &SharedBytes::outside_files;
    if (files_[file].evidence.same_content) return &SharedBytes::same_files;
    return files_[file].moved ? &SharedBytes::moved_files : &SharedBytes::other_files;
  }

  void add_fresh(const ByteRange& piece, const FrameDigest& digest, bool read_before) {
    const auto [entry, is_new] = frames_.try_emplace(digest);
    FreshFrame& frame = entry->second;
    if (is_new) {
      const auto locations = after_.map.places().find(digest);
      if (!locations.empty()) frame.location = locations.front();
      if (frame.location && !read_before) frame.stored_bytes = frame.location->stored_bytes;
    }
    frame.taken += piece.length;
    file_claims_.split(piece, [&](const ByteRange&, std::uint32_t number) {
      frame.outside_files = frame.outside_files || number == DiskClaims::kNobody;
    });
    pieces_.push_back({piece, &frame});
  }

  /// Of frames that hold something outside of files: their packs' tables tell.
  void find_classes() {
    std::map<PackDigest, std::map<std::uint64_t, FreshFrame*>> wanted;
    for (auto& [digest, frame] : frames_) {
      if (frame.outside_files && frame.location)
        wanted[frame.location->pack][frame.location->offset] = &frame;
    }
    for (const auto& [pack, frames] : wanted) {
      for (const PackFrame& stored : read_pack_tables(store_, pack).frames) {
        const auto found = frames.find(stored.offset);
        if (found != frames.end()) found->second->object_class = stored.object_class;
      }
    }
  }

  /// Charges a piece to files and causes, with its share of what its frame takes in the store.
  void give(const FreshPiece& piece) {
    FreshFrame& frame = *piece.frame;
    const auto stored_until = [&frame](std::uint64_t given) {
      return static_cast<std::uint64_t>(static_cast<double>(frame.stored_bytes) *
                                        (static_cast<double>(given) / static_cast<double>(frame.taken)));
    };
    const auto cost_of = [&](std::uint64_t bytes) {
      const std::uint64_t before = stored_until(frame.given);
      frame.given += bytes;
      return Cost{bytes, stored_until(frame.given) - before};
    };
    file_claims_.split(piece.disk, [&](const ByteRange& range, std::uint32_t number) {
      if (number != DiskClaims::kNobody) {
        files_[number].cost += cost_of(range.length);
        return;
      }
      volume_claims_.split(range, [&](const ByteRange& part, std::uint32_t volume) {
        of(cause_outside_files(volume, frame.object_class)).cost += cost_of(part.length);
      });
    });
  }

  [[nodiscard]] Cause cause_outside_files(std::uint32_t volume, ObjectClass object_class) const {
    if (volume == DiskClaims::kNobody) return Cause::kBootArea;
    const VolumeSummary& summary = after_.manifest.volumes[volume];
    if (summary.type == "swap") return Cause::kSwap;
    if (summary.type == "bios-boot") return Cause::kBootArea;
    if (!summary.inspected) return Cause::kOpaque;
    // Residue that equals a file's bytes lies in that file's frame, of another class.
    return object_class == ObjectClass::kFsMetadata ? Cause::kFsMetadata : Cause::kResidue;
  }

  CauseCost& of(Cause cause) { return result_.causes[static_cast<std::size_t>(cause)]; }

  void sum_files(std::size_t paths_max) {
    std::map<std::string, PackageCost> packages;
    for (const auto& [name, group] : packages_.groups()) packages[name].group = group;
    std::vector<PathCost> paths;
    for (NewFile& file : files_) {
      if (file.cost.bytes == 0) continue;
      FileEvidence evidence = file.evidence;
      evidence.path = file.path;
      const Cause cause = cause_of_file(evidence);
      ++of(cause).files;
      of(cause).cost += file.cost;
      std::string package;
      if (comes_with_package(cause, file.path)) {
        package = packages_.package_of(file.path, file.modified_ns);
      }
      if (!package.empty()) {
        ++packages[package].files;
        packages[package].cost += file.cost;
      }
      paths.push_back({std::move(file.path), after_.manifest.volumes[file.volume].number, cause,
                       std::move(package), file.cost});
    }
    keep_costliest(std::move(paths), paths_max);
    for (auto& [name, package] : packages) result_.packages.push_back(std::move(package));
    std::ranges::stable_sort(result_.packages, std::ranges::greater{},
                             [](const PackageCost& package) { return package.cost.bytes; });
  }

  void keep_costliest(std::vector<PathCost> paths, std::size_t count) {
    count = std::min(count, paths.size());
    std::ranges::partial_sort(paths, paths.begin() + static_cast<std::ptrdiff_t>(count),
                              [](const PathCost& a, const PathCost& b) {
                                return std::tie(b.cost.bytes, a.path) < std::tie(a.cost.bytes, b.path);
                              });
    paths.resize(count);
    result_.paths = std::move(paths);
  }

  Store& store_;
  Build before_;
  Build after_;
  std::vector<std::optional<std::size_t>> matches_;  // volumes of the earlier build for the later one's
  OldTable old_;
  PackageEvidence packages_;
  std::vector<NewFile> files_;
  DiskClaims file_claims_;
  DiskClaims volume_claims_;
  std::unordered_map<FrameDigest, FreshFrame, DigestHash> frames_;  // pieces_ point into it
  std::vector<FreshPiece> pieces_;
  Explanation result_;
};

}  // namespace

Explanation explain(const Repository& repository, const SnapshotDigest& before, const SnapshotDigest& after,
                    const std::vector<PackageVersions>& packages, std::size_t paths_max, Progress& progress) {
  return Explainer(repository, before, after, packages).run(paths_max, progress);
}

}  // namespace vmpack
