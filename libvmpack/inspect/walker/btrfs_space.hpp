// SPDX-License-Identifier: Apache-2.0
// How a btrfs on one device uses that device: where its own addresses lie, and what is free.
#pragma once

#include <cstdint>
#include <vector>

#include "libvmpack/inspect/walker/address_map.hpp"
#include "libvmpack/inspect/walker/superblock.hpp"

namespace vmpack {

/// A stretch of btrfs's own addresses, and where its copies lie on the device.
struct BtrfsChunk {
  ByteRange addresses;
  std::vector<std::uint64_t> copies;
};

/// All chunks of the mounted file system. Throws Error: kUnsupported where one is spread over devices,
/// kDamaged.
[[nodiscard]] std::vector<BtrfsChunk> btrfs_chunks(int root);

/// From btrfs's addresses to the device's, by the first copy of each chunk. Throws Error (kDamaged).
[[nodiscard]] AddressMap btrfs_addresses(const std::vector<BtrfsChunk>& chunks);

/// What no chunk has and what is not allocated in chunks, all copies, on the device, sorted. Never the first
/// MiB nor where copies of the superblock lie. Throws Error when that cannot be told.
[[nodiscard]] std::vector<ByteRange> btrfs_free_space(int root, const std::vector<BtrfsChunk>& chunks,
                                                      const BtrfsFacts& facts);

}  // namespace vmpack
