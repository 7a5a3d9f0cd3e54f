// SPDX-License-Identifier: Apache-2.0
// Why two builds share what they share: bytes of the later one by cause, from block maps, file tables and
// what is known of packages. Reads no frame of the images' data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/cause.hpp"
#include "libvmpack/repo/package_evidence.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// What a part of the later build costs beside the earlier one.
struct Cost {
  std::uint64_t bytes = 0;  ///< of the image, before compression
  /// In frames that the later build reads and the earlier one does not; a frame's bytes are split evenly over
  /// what the image takes from it. Less than `bytes` also where a third snapshot holds them.
  std::uint64_t stored_bytes = 0;

  Cost& operator+=(const Cost& more) {
    bytes += more.bytes;
    stored_bytes += more.stored_bytes;
    return *this;
  }
};

struct CauseCost {
  std::uint64_t files = 0;
  Cost cost;
};

struct PathCost {
  std::string path;          ///< bytes as the file system has them
  std::uint32_t volume = 0;  ///< partition number
  Cause cause = Cause::kChanged;
  std::string package;  ///< group that brought it; empty where that is not known
  Cost cost;
};

struct PackageCost {
  PackageGroup group;
  std::uint64_t files = 0;  ///< known to be of it, and not shared
  Cost cost;
};

/// Regular files, empty ones too.
struct FileCounts {
  std::uint64_t same = 0;     ///< in both, with the same content
  std::uint64_t retimed = 0;  ///< of the same: with another time of the last change
  std::uint64_t changed = 0;
  std::uint64_t added = 0;
  std::uint64_t moved = 0;  ///< of the added: moved or copied, the earlier build has their content
  std::uint64_t removed = 0;
};

/// Bytes of the image that both builds take from the same place of the same frames.
struct SharedBytes {
  std::uint64_t same_files = 0;
  std::uint64_t moved_files = 0;
  std::uint64_t other_files = 0;    ///< pieces of files that changed or were added
  std::uint64_t outside_files = 0;  ///< metadata, residue, boot areas, what could not be read

  [[nodiscard]] std::uint64_t total() const { return same_files + moved_files + other_files + outside_files; }
};

struct Explanation {
  SharedBytes shared;
  Cost fresh;  ///< not shared: the sum of all causes
  std::array<CauseCost, kCauseCount> causes{};
  FileCounts files;
  std::vector<PathCost> paths;           ///< those that cost most, by bytes
  std::vector<PackageCost> packages;     ///< that changed or were added, those that cost most first
  std::vector<std::uint32_t> new_uuids;  ///< numbers of volumes whose UUID is another one
};

/// What `after` takes beside `before`, with at most `paths_max` paths. `packages` are those of either build,
/// where their operating systems were asked; none otherwise. Throws kNotFound, kDamaged, kUnsupported.
[[nodiscard]] Explanation explain(const Repository& repository, const SnapshotDigest& before,
                                  const SnapshotDigest& after, const std::vector<PackageVersions>& packages,
                                  std::size_t paths_max, Progress& progress);

}  // namespace vmpack
