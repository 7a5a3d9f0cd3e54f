// SPDX-License-Identifier: Apache-2.0
// Items of the trees of a mounted btrfs, as the kernel hands them out.
#pragma once

#include <linux/btrfs.h>

#include <cstdint>
#include <functional>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// The header says the item's key; `item` is what it holds.
using TakeBtrfsItem = std::function<void(const btrfs_ioctl_search_header& header, ByteView item)>;

/// Goes through all items of `tree` in order of their keys. `root`: any directory of the file system. Throws
/// Error when the tree cannot be read to its end.
void for_each_btrfs_item(int root, std::uint64_t tree, const TakeBtrfsItem& take);

}  // namespace vmpack
