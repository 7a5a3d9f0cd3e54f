// SPDX-License-Identifier: Apache-2.0
// Fetches one snapshot's file table from a store.
#pragma once

#include <cstdint>
#include <functional>

#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Calls for every file, volume by volume (by its position in the manifest) and sorted by path. Keeps one
/// page in memory. Throws kNotFound, kDamaged, kUnsupported, kLimit.
void for_each_file(Store& store, const Places& places, const FileTableDigest& table,
                   const std::function<void(std::uint32_t volume, FileRecord file)>& each);

}  // namespace vmpack
