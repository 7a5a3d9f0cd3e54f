// SPDX-License-Identifier: Apache-2.0
// A store that is read through a disk cache: the second level behind the frames in memory.
#pragma once

#include <memory>

#include "libvmpack/store/disk_cache.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// All of `far`, but copies of what it holds under immutable names (packs, maps, file tables, manifests) are
/// looked for in `cache` first, and kept there. What is read is checked by its digest as ever, wherever it
/// came from; a copy that proves wrong is fetched anew.
[[nodiscard]] std::unique_ptr<Store> make_near_store(std::unique_ptr<Store> far,
                                                     std::shared_ptr<DiskCache> cache);

}  // namespace vmpack
