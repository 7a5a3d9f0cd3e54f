// SPDX-License-Identifier: Apache-2.0
// The file table that an image would get, without an ingest.
#pragma once

#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// For each volume of `layout` its files' records, sorted by path, as an ingest of `source` would put them
/// into its file table. Reads and cuts all files, and stores nothing. Throws what reading the source throws.
[[nodiscard]] std::vector<std::vector<FileRecord>> read_file_records(Source& source, const Layout& layout,
                                                                     const RepositoryParameters& parameters,
                                                                     Progress& progress);

}  // namespace vmpack
