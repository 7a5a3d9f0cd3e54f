// SPDX-License-Identifier: Apache-2.0
// Reads the directories of a FAT file system, and finds where files lie.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "libvmpack/inspect/helper/cluster_map.hpp"
#include "libvmpack/inspect/helper/fat_table.hpp"
#include "libvmpack/inspect/helper/file_tree.hpp"

namespace vmpack {

class FatTree {
 public:
  FatTree(ImageClient& image, const FatGeometry& geometry, const FatTable& table, FileTree& tree);

  /// Never fails: what cannot be read is left out and counted.
  void read_all();

  [[nodiscard]] FileTree::Index root() const { return root_; }
  /// From the root directory, which libblkid sees only when it is near the volume's beginning.
  [[nodiscard]] const std::string& label() const { return label_; }
  /// A chain leads to a cluster that the table calls free.
  [[nodiscard]] bool has_files_in_free_space() const { return has_files_in_free_space_; }
  /// Whether a file or directory has it.
  [[nodiscard]] bool is_claimed(std::uint32_t cluster) const { return claimed_.in_use(cluster); }

 private:
  struct Directory {
    std::uint64_t key = 0;
    std::uint32_t cluster = 0;  ///< the first one; 0: the root of FAT12 and FAT16
  };
  struct Chain {
    std::vector<std::uint32_t> clusters;
    bool damaged = false;
  };
  class LongName;

  void follow(std::uint32_t first, std::uint64_t clusters_max);
  void list(const Directory& directory);
  [[nodiscard]] std::vector<ByteRange> places_of(const Directory& directory);
  void add_entry(const Directory& directory, ByteView entry, std::uint64_t number, LongName& long_name);
  void add_content(std::uint32_t first, std::uint64_t size);
  [[nodiscard]] std::uint64_t offset_of(std::uint32_t cluster) const;

  ImageClient& image_;
  const FatGeometry& geometry_;
  const FatTable& table_;
  FileTree& tree_;
  ClusterMap claimed_;
  FileTree::Index root_ = 0;
  std::deque<Directory> to_list_;
  Chain chain_;  ///< reused, to spare allocations
  Bytes buffer_;
  std::string name_;
  std::string label_;
  bool has_files_in_free_space_ = false;
};

}  // namespace vmpack
