// SPDX-License-Identifier: Apache-2.0
// Copies snapshots from one repository to another: what the other one lacks, and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/copy_plan.hpp"
#include "libvmpack/repo/reference.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// A snapshot, and the reference that shall point to it.
struct CopyItem {
  SnapshotDigest snapshot;
  ReferenceName name;
};

struct CopyOptions {
  bool force = false;    ///< move references that point elsewhere
  bool dry_run = false;  ///< find out what would move, and write nothing
};

struct CopyReport {
  std::uint64_t snapshots = 0;  ///< each once
  std::uint64_t frames = 0;     ///< that the snapshots need
  std::uint64_t bytes = 0;      ///< of those, as stored
  std::uint64_t frames_moved = 0;
  std::uint64_t bytes_moved = 0;
  std::uint64_t packs_new = 0;
};

/// Everything that the items' snapshots need: frames as they are stored, map, file table, places, manifest,
/// notes, and the references last, each durable before the next. Frames are checked before they count: their
/// digests, and those of the objects in them. Killed or failed at any moment, the target is valid, and the
/// next run moves little of what arrived again. Throws kAlreadyExists, before anything moves, where a
/// reference points elsewhere and `force` is not set. `locate` says where frames lie in the source.
CopyReport copy_snapshots(const std::shared_ptr<const Repository>& source, LocateFrame locate,
                          const Repository& target, std::span<const CopyItem> items,
                          const CopyOptions& options, Progress& progress);

/// The same, by the places of the snapshots in the source.
CopyReport copy_snapshots(const std::shared_ptr<const Repository>& source, const Repository& target,
                          std::span<const CopyItem> items, const CopyOptions& options, Progress& progress);

/// What a plan comes to.
[[nodiscard]] CopyReport report_of(const CopyPlan& plan);

/// Calls for every note of a snapshot as it is stored. Throws kDamaged.
void for_each_note(Store& store, const SnapshotDigest& snapshot,
                   const std::function<void(const std::string& key, const Bytes& note)>& each);

/// Each item's snapshot once, in their order.
[[nodiscard]] std::vector<SnapshotDigest> snapshots_of(std::span<const CopyItem> items);

}  // namespace vmpack
