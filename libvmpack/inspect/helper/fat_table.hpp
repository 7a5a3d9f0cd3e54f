// SPDX-License-Identifier: Apache-2.0
// Geometry and allocation table of a FAT12, FAT16 or FAT32 file system, as in Microsoft's "FAT: General
// Overview of On-Disk Format" (fatgen103).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/helper/image_client.hpp"

namespace vmpack {

/// What the boot sector says. Offsets in the volume, all inside it.
struct FatGeometry {
  unsigned entry_bits = 0;  ///< of the table: 12, 16 or 32
  std::uint64_t cluster_bytes = 0;
  std::uint64_t clusters = 0;  ///< the first one is called 2
  std::uint64_t data_offset = 0;
  std::uint64_t table_offset = 0;  ///< of the table in use
  std::uint64_t table_bytes = 0;
  std::uint64_t copy_offset = 0;   ///< of another copy that must be equal; 0: there is none
  ByteRange root;                  ///< of the root directory, on FAT12 and FAT16
  std::uint32_t root_cluster = 0;  ///< on FAT32
  bool marked_dirty = false;       ///< by Linux, which uses a byte that is reserved
};

/// Nothing when the boot sector makes no sense.
[[nodiscard]] std::optional<FatGeometry> read_fat_geometry(ImageClient& image);

/// The whole table in memory: four bytes a cluster.
class FatTable {
 public:
  static constexpr std::uint32_t kFirstCluster = 2;

  explicit FatTable(const FatGeometry& geometry) : geometry_(geometry) {}

  /// False when it cannot be read.
  [[nodiscard]] bool load(ImageClient& image);

  [[nodiscard]] bool is_cluster(std::uint32_t number) const {
    return number >= kFirstCluster && number < entries_.size();
  }
  [[nodiscard]] bool is_free(std::uint32_t cluster) const { return entries_[cluster] == 0; }
  /// What follows `cluster` in its chain: a cluster, or something else (end, bad, free).
  [[nodiscard]] std::uint32_t next(std::uint32_t cluster) const { return entries_[cluster]; }
  [[nodiscard]] bool is_end(std::uint32_t entry) const;
  /// By DOS and Windows: not unmounted, or with errors of the disk.
  [[nodiscard]] bool marked_dirty() const;
  /// The copies of the table differ.
  [[nodiscard]] bool copies_differ() const { return copies_differ_; }

 private:
  void decode(ByteView table);

  FatGeometry geometry_;
  std::vector<std::uint32_t> entries_;
  bool copies_differ_ = false;
};

}  // namespace vmpack
