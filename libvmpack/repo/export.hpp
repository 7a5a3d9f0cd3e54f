// SPDX-License-Identifier: Apache-2.0
// Copies snapshots through a file, where no network goes: out here, in there.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/copy.hpp"
#include "libvmpack/repo/export_file.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// Writes all that `items` need and `known` do not: those are snapshots, in this repository too, that the
/// other side has. Frames are checked as for copy_snapshots(). `out` is finished on return.
CopyReport export_snapshots(const std::shared_ptr<const Repository>& source, std::span<const CopyItem> items,
                            std::span<const SnapshotDigest> known, ExportWriter& out, Progress& progress);

/// What an export says that it brings, and the snapshots without which it is of no use. Throws kDamaged,
/// kUnsupported.
struct ExportContents {
  std::vector<CopyItem> items;
  std::vector<SnapshotDigest> follows;
};
[[nodiscard]] ExportContents export_contents(Store& exported);

/// Brings what `exported` holds into `target`, as copy_snapshots() does. Throws kNotFound where it follows
/// snapshots that the target lacks and cannot do without.
CopyReport import_snapshots(const std::shared_ptr<ExportStore>& exported, const Repository& target,
                            const CopyOptions& options, Progress& progress);

}  // namespace vmpack
