// SPDX-License-Identifier: Apache-2.0
// Makes few index files of many, with every frame where it lies now.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Where a frame that an index file places at `location` is now; nullopt when it is gone, and its objects
/// with it.
using PlaceFrame =
    std::function<std::optional<FrameLocation>(const FrameDigest& frame, const FrameLocation& location)>;

/// Merges the index files `keys` into new ones, durable on return, and returns their digests, sorted. The old
/// ones stay; a new one may be the same as an old one, and must then not be removed with the others. A delta
/// frame goes too when what it stands on is gone. Of an object that several frames hold, each new file keeps
/// one place, in a frame that is no delta where there is such a one. The same files and places give the same
/// result, in whatever order of `keys`. No new file has more than `objects_max` objects; few files that
/// together have no more go into one. Memory: some 60 bytes for each frame and two for each object of one new
/// file. `place` is called by one thread, several times for a frame. Throws what opening and reading the old
/// files throws.
std::vector<Digest> merge_index_files(Store& store, std::span<const std::string> keys,
                                      const PlaceFrame& place,
                                      std::uint64_t objects_max = limits::kIndexFileObjectsMax);

}  // namespace vmpack
