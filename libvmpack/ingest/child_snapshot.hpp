// SPDX-License-Identifier: Apache-2.0
// A snapshot made from another one, its parent, and what differs from that: the pipeline behind
// `vmpack snapshot` and `vmpack ingest --parent`.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/source/changes.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// The snapshot that another one is made from, open.
struct ParentSnapshot {
  std::shared_ptr<const Repository> repository;
  SnapshotDigest snapshot;
  Manifest manifest;
  std::shared_ptr<FrameCache> cache;
  std::unique_ptr<Source> source;
};

/// Throws kNotFound, kDamaged, kUnsupported.
[[nodiscard]] ParentSnapshot open_parent(std::shared_ptr<const Repository> repository,
                                         const SnapshotDigest& snapshot);

struct ChildResult {
  IngestResult ingest;
  std::vector<ByteRange> changed;  ///< all that the child's block map has anew; sorted
};

/// Commits what `changes` changed on the parent as `name`, in the same order as ingest(), and as safe against
/// being killed. Reads nothing of the source outside of the changes, and drops what equals the parent. Cuts
/// along the files of the parent's file table; it need not be there. Throws kRefused when the changed disk is
/// smaller than the parent, and kAlreadyExists when `name` exists and `force` is not set.
ChildResult snapshot_changes(const ParentSnapshot& parent, const Changes& changes, const ReferenceName& name,
                             const IngestOptions& options, Progress& progress);

/// Commits `image` as `name`, as a child of the parent, along the image's own `layout`. Otherwise as above.
ChildResult ingest_child(const ParentSnapshot& parent, Source& image, const Layout& layout,
                         const ReferenceName& name, const IngestOptions& options, Progress& progress);

}  // namespace vmpack
