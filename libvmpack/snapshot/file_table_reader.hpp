// SPDX-License-Identifier: Apache-2.0
// Fetches one snapshot's file table from a store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/snapshot/volume_files.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// An open file table: keeps its root, and reads pages when they are asked for. Any thread. Methods throw
/// kNotFound, kDamaged, kUnsupported, kLimit.
class FileTable {
 public:
  /// Both must outlive this.
  FileTable(Store& store, const Places& places, const FileTableDigest& table);

  /// By their positions in the manifest.
  [[nodiscard]] const std::vector<FileTableVolume>& volumes() const { return root_.volumes; }
  /// To look into one of those; must not outlive this.
  [[nodiscard]] VolumeFiles files(const FileTableVolume& volume) const;

 private:
  [[nodiscard]] std::vector<FileRecord> page(const FileTablePage& page) const;

  const Places& places_;
  std::string key_;
  FileTableRoot root_;
};

/// Calls for every file, volume by volume (by its position in the manifest) and sorted by path. Keeps one
/// page in memory. Throws kNotFound, kDamaged, kUnsupported, kLimit.
void for_each_file(Store& store, const Places& places, const FileTableDigest& table,
                   const std::function<void(std::uint32_t volume, FileRecord file)>& each);

}  // namespace vmpack
