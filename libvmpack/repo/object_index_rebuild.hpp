// SPDX-License-Identifier: Apache-2.0
// The object index made anew from what packs say of themselves.
#pragma once

#include <span>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

struct RebuiltIndex {
  std::vector<Digest> files;        ///< sorted
  std::vector<PackDigest> damaged;  ///< packs whose tables could not be read: nothing of theirs is listed
  std::uint64_t objects = 0;
  std::uint64_t frames_left_out = 0;  ///< delta frames that stand on what is in no pack
};

/// Writes index files, durable on return, that list all objects of `packs`, and nothing else. Old index files
/// stay; a new one may be the same as an old one. No file has more than `objects_max` objects, but for those
/// of a pack more. Memory: about 100 bytes for each object of one file, and for each frame that delta frames
/// stand on. A pack that is missing or damaged is left out and named; what the store throws otherwise is
/// passed on. `progress` counts packs.
RebuiltIndex rebuild_index(Store& store, std::span<const PackDigest> packs, Progress& progress,
                           std::uint64_t objects_max = limits::kIndexFileObjectsMax);

}  // namespace vmpack
