// SPDX-License-Identifier: Apache-2.0
// Takes content out of a repository that must not be there, from every snapshot that holds it: it reads as
// zeros then, in new snapshots, and nothing stored holds its bytes. docs/mending.md tells how.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The note that a snapshot has which came of a purge: `before`, `time`, `bytes`, and `objects`, by which a
/// purge that was killed is ended.
inline constexpr std::string_view kPurgeNote = "purge/from";

struct PurgedSnapshot {
  SnapshotDigest before;
  SnapshotDigest after;            ///< what came in its place
  std::uint64_t bytes = 0;         ///< of the image that read as zeros now
  std::vector<std::string> files;  ///< that these bytes belonged to, where that is known
};

struct PurgeReport {
  std::uint64_t frames = 0;               ///< that held some of it, or stood on such a one
  std::vector<PurgedSnapshot> snapshots;  ///< parents before their children
  std::vector<std::string> references;    ///< that were moved
  std::uint64_t packs_removed = 0;
};

/// The objects that were purged of a snapshot when it was made. Throws kDamaged.
[[nodiscard]] std::vector<ObjectDigest> purged_objects(const Repository& repository,
                                                       const SnapshotDigest& snapshot);

/// The objects that a file's bytes lie in. `file` is of the snapshot's own file table. Throws kDamaged,
/// kNotFound.
[[nodiscard]] std::vector<ObjectDigest> objects_of_file(const Repository& repository,
                                                        const SnapshotDigest& snapshot,
                                                        const FileEntry& file);

/// Purges the objects. Frames that hold one are encoded anew without it, delta frames that stand on such a
/// one too; all snapshots that use those get new block maps, and with these new digests; references move to
/// them, and notes come along. Old snapshots and packs are removed at once. Killed at any moment, every
/// reference leads to the old snapshot or to the new one, and the next run ends the work. With `dry_run`
/// nothing is written, and PurgedSnapshot::after is empty. Throws what reading throws: a repository that is
/// damaged must be repaired first.
PurgeReport purge(const std::shared_ptr<const Repository>& repository, std::span<const ObjectDigest> objects,
                  bool dry_run, Progress& progress);

}  // namespace vmpack
