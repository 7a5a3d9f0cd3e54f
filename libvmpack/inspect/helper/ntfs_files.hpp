// SPDX-License-Identifier: Apache-2.0
// Reads the master file table of an NTFS file system from its first to its last record, by The Sleuth Kit:
// many times faster than its walk through directories, and paths come from the names in the records.
#pragma once

#include <tsk/libtsk.h>
// Needs the one above, and does not include it.
#include <tsk/fs/tsk_ntfs.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/inspect/helper/cluster_map.hpp"
#include "libvmpack/inspect/helper/file_tree.hpp"
#include "libvmpack/inspect/helper/work_budget.hpp"

namespace vmpack {

struct CloseTskFile {
  void operator()(TSK_FS_FILE* file) const { tsk_fs_file_close(file); }
};
using TskFile = std::unique_ptr<TSK_FS_FILE, CloseTskFile>;

/// The attribute of that type without a name, or nullptr.
[[nodiscard]] const TSK_FS_ATTR* unnamed_attribute(const TSK_FS_FILE& file, TSK_FS_ATTR_TYPE_ENUM type);

class NtfsFiles {
 public:
  /// Marks in `clusters` what files use.
  NtfsFiles(NTFS_INFO& fs, ByteRange volume, FileTree& tree, ClusterMap& clusters);

  /// Never fails: what cannot be read is left out and counted.
  void read_all();

  [[nodiscard]] std::optional<FileTree::Index> root() const { return root_; }
  [[nodiscard]] std::uint64_t damaged_records() const { return damaged_records_; }
  /// True when a file lies where `clusters` knew of no use.
  [[nodiscard]] bool has_files_in_free_space() const { return has_files_in_free_space_; }
  [[nodiscard]] bool ran_out_of_budget() const { return budget_.exhausted(); }
  /// True when Windows sleeps on this volume, and will go on from what it remembers of it.
  [[nodiscard]] bool is_hibernated() const { return is_hibernated_; }
  /// True when there are shadow copies: they use clusters of deleted files without $Bitmap knowing of it.
  [[nodiscard]] bool has_shadow_copies() const { return has_shadow_copies_; }

 private:
  bool is_file(TSK_INUM_T number);
  void add(const TSK_FS_FILE& file);
  void mark_clusters(const TSK_FS_ATTR& attribute);
  void add_content(const TSK_FS_FILE& file, const TSK_FS_ATTR& data);
  void add_names(const TSK_FS_FILE& file, FileTree::Index index);

  NTFS_INFO& fs_;
  ByteRange volume_;
  FileTree& tree_;
  ClusterMap& clusters_;
  WorkBudget budget_;
  std::optional<FileTree::Index> root_;
  std::uint64_t damaged_records_ = 0;
  bool has_files_in_free_space_ = false;
  bool is_hibernated_ = false;
  bool has_shadow_copies_ = false;
  std::vector<char> record_;
  std::string name_;
};

}  // namespace vmpack
