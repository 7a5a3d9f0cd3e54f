// SPDX-License-Identifier: Apache-2.0
// From an image to a snapshot: the pipeline behind `vmpack ingest`.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/ingest/packer.hpp"
#include "libvmpack/inspect/appliance_session.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

struct IngestOptions {
  int level = 2;  ///< zstd's
  std::map<std::string, std::string> labels;
  bool force = false;         ///< move the reference if it exists
  bool discard_free = false;  ///< free space and contents of swap read back as zeros
};

struct IngestResult {
  SnapshotDigest snapshot;
  Manifest manifest;
  PackStatistics added;
  std::uint64_t objects = 0;
  std::uint64_t files_rejected = 0;
  double seconds = 0;
};

/// Packs all of `source` along `layout` and commits it as `name`: packs, then the index of what is new, block
/// map and file table, places, manifest, and the reference last, each durable before the next. Killed at any
/// moment, it leaves a valid repository. The same image, parameters and repository give the same bytes at any
/// number of threads. With an `appliance`, which was asked for the volumes of `layout` that need it, these
/// come last: everything else is packed while it is at work. Throws kAlreadyExists before anything is read
/// when `name` exists and `force` is not set, and kRefused where `discard_free` asks for what could lose
/// data: a file system that was not cleanly unmounted, a suspended system in swap space.
IngestResult ingest(const std::shared_ptr<const Repository>& repository, Source& source, Layout layout,
                    const ReferenceName& name, const IngestOptions& options, Progress& progress,
                    ApplianceSession* appliance = nullptr);

/// A volume without its files, as a manifest keeps it.
[[nodiscard]] VolumeSummary summarize(const Volume& volume);

}  // namespace vmpack
