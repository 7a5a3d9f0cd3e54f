// SPDX-License-Identifier: Apache-2.0
// A layout from what a repository knows of a snapshot, without looking into its file systems again.
#pragma once

#include <span>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The snapshot's volumes, and those of its files that lie at `ranges` (sorted). What is free is not known.
/// Where the snapshot itself has no file table, that of the nearest parent with one serves. A hint, as every
/// layout is: what cannot be read is left out, with a warning.
[[nodiscard]] Layout recorded_layout(const Repository& repository, const SnapshotDigest& snapshot,
                                     std::span<const ByteRange> ranges, Progress& progress);

}  // namespace vmpack
