// SPDX-License-Identifier: Apache-2.0
// Collects garbage: what no reference and no hold needs is marked, and deleted when it is still not needed a
// grace period later. docs/gc.md says why that is safe beside writers, copies and servers on any machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

inline constexpr std::int64_t kGraceSecondsDefault = 24 * 60 * 60;

struct GcOptions {
  std::int64_t grace_seconds = kGraceSecondsDefault;
  bool dry_run = false;  ///< only tell what there is to collect
  /// Asked, each time when it counts, for snapshots to be kept though nothing names them; may be empty. What
  /// is not in this repository is passed over. Whatever it throws ends the collection.
  std::function<std::vector<SnapshotDigest>()> in_use;
  bool lease_keeps_itself = true;  ///< as for Lease
};

struct GcReport {
  std::uint64_t snapshots = 0;     ///< named ones
  std::uint64_t used_bytes = 0;    ///< of frames that they need
  std::uint64_t unused_bytes = 0;  ///< of frames and small files that nothing needs
  std::uint64_t stored_bytes = 0;  ///< of all packs, before
  std::uint64_t marked_files = 0;  ///< in this run, moved packs among them
  std::uint64_t marked_bytes = 0;
  std::uint64_t moved_frames = 0;
  std::uint64_t moved_bytes = 0;
  std::uint64_t packs_moved = 0;  ///< that their frames in use were moved out of
  std::uint64_t packs_written = 0;
  std::uint64_t deleted_files = 0;
  std::uint64_t deleted_bytes = 0;
  std::uint64_t waiting_files = 0;  ///< marked, and not yet deleted
  std::uint64_t waiting_bytes = 0;
  std::optional<std::int64_t> waiting_until;  ///< when the first of them may be deleted, by the store's clock
  std::vector<std::string> waiting_for;       ///< writers that began before a mark and are still active
};

/// Deletes what was marked at least the grace period ago; marks what is unused now; moves frames in use out
/// of packs that are mostly not, and out of small ones. Killed at any moment it has lost nothing, and the
/// next one goes on. One at a time: kRefused while another one is at work. kDamaged where what is named
/// cannot be read: then nothing is deleted.
GcReport collect_garbage(const std::shared_ptr<const Repository>& repository, const GcOptions& options,
                         Progress& progress);

}  // namespace vmpack
