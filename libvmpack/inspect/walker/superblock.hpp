// SPDX-License-Identifier: Apache-2.0
// What the superblocks of XFS, btrfs and ext2/3/4, and the headers of swap space, say about themselves,
// before anything is mounted.
#pragma once

#include <cstdint>

#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/inspect/walker/block_device.hpp"

namespace vmpack {

/// Type (as libblkid tells it), label, uuid, block size, and where the superblock alone tells it, dirty. The
/// type is empty where there is none of these. Throws Error when the device cannot be read.
[[nodiscard]] Volume identify(const BlockDevice& device);

/// What else btrfs's superblock is needed for.
struct BtrfsFacts {
  std::uint64_t device_bytes = 0;  ///< that it uses of the device
  std::uint64_t device_count = 0;
  std::uint32_t node_bytes = 0;  ///< of a block of metadata
  /// Its features are those whose extent tree tells what is allocated.
  bool space_is_understood = false;
};
[[nodiscard]] BtrfsFacts btrfs_facts(const BlockDevice& device);

}  // namespace vmpack
