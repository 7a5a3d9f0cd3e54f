// SPDX-License-Identifier: Apache-2.0
// The small files that make packed bytes a snapshot. In this order: packs and their index (Packer::finish()),
// roots, places, a look at what was found stored, manifest, reference.
#pragma once

#include <span>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/ingest/packer.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Throws kAlreadyExists when `name` is taken and must not be moved.
void require_free_name(const Repository& repository, const ReferenceName& name, bool may_move);

/// Packs the pages of a file table. `records` of each volume, sorted by path; those without files are left
/// out.
[[nodiscard]] FileTableRoot build_file_table_pages(const std::vector<std::vector<FileRecord>>& records,
                                                   Packer& packer);

// Both are durable on return.
MapDigest put_map_root(Store& store, const MapRoot& root);
FileTableDigest put_file_table_root(Store& store, const FileTableRoot& root);

/// Makes sure that packs which were found stored still are, whatever happened since. Otherwise kIo. Last
/// before the manifest.
void require_stored(Store& store, std::span<const ReliedPack> packs);

/// Adds to the places of a snapshot that has a parent; where there are none yet, to the parent's. When that
/// makes half as many again as were in use when it was last looked at, those that the snapshot does not use
/// are dropped. Its block map must be there.
void add_to_places(const Repository& repository, const SnapshotDigest& snapshot, const Manifest& manifest,
                   std::span<const FramePlace> places);

}  // namespace vmpack
