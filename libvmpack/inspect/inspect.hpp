// SPDX-License-Identifier: Apache-2.0
// Image to layout: partitions, file systems, files with their extents, free space.
#pragma once

#include <chrono>
#include <cstdint>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

struct InspectOptions {
  std::uint64_t child_memory_bytes_max = 1 * kGiB;  ///< address space of the child that parses
  std::chrono::seconds child_time_max{120};         ///< per volume; a child that takes longer is killed
};

/// Reads partition table and file systems of `source` in a child process without privileges. Whatever the
/// image holds, this returns a layout: what could not be read becomes an opaque volume with a warning (also
/// sent to `progress`). Throws Error only when the source cannot be read at all.
[[nodiscard]] Layout inspect(Source& source, const InspectOptions& options, Progress& progress);

/// What the disk calls a sector, as far as that shows: 4096 where its GPT is written in such sectors, else
/// 512. Throws Error when the source cannot be read.
[[nodiscard]] std::uint64_t sector_bytes_of(Source& source);

}  // namespace vmpack
