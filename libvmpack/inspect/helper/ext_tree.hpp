// SPDX-License-Identifier: Apache-2.0
// Walks the directory tree of an ext2/3/4 file system and reports every file, in order of path.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/helper/ext_map.hpp"
#include "libvmpack/inspect/helper/inode_set.hpp"
#include "libvmpack/inspect/helper/tree_damage.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

class ExtTree {
 public:
  /// `used` is told of every run of blocks that a file or directory claims.
  using OnBlocks = std::function<void(const BlockRun&)>;

  ExtTree(ext2_filsys fs, ByteRange volume, LayoutStreamWriter& out, OnBlocks used);

  /// Reports all files. Never fails: what cannot be read is left out and counted.
  void walk();

  [[nodiscard]] const TreeDamage& damage() const { return damage_; }
  [[nodiscard]] bool ran_out_of_budget() const { return budget_.exhausted(); }

 private:
  struct Inode {
    ext2_inode base{};
    std::int64_t modified_ns = 0;
  };
  struct Child {
    std::uint32_t name_at = 0;  ///< in Directory::names
    std::uint16_t name_bytes = 0;
    bool is_directory = false;
    ext2_ino_t number = 0;
    Inode inode;
  };
  /// One step of the walk: a child itself, or everything below it.
  struct Step {
    std::uint32_t child = 0;
    bool below = false;
  };
  struct Directory {
    std::size_t path_bytes = 0;  ///< of this directory's own path; 0 for the root
    std::string names;           ///< each followed by a slash
    std::vector<Child> children;
    std::vector<Step> steps;
    std::size_t next_step = 0;

    [[nodiscard]] std::string_view name(const Child& child, bool with_slash = false) const {
      return std::string_view(names).substr(child.name_at, child.name_bytes + (with_slash ? 1U : 0U));
    }
  };

  bool read_inode(ext2_ino_t number, Inode& into);
  void enter(ext2_ino_t number, ext2_inode& inode);
  void list(ext2_ino_t number, ext2_inode& inode, Directory& into);
  void list_block(const std::vector<char>& block, Directory& into);
  void add_name(std::string_view name, ext2_ino_t number, Directory& into);
  void sort(Directory& directory);
  void report(ext2_ino_t number, Inode& inode);
  void report_extents(ext2_ino_t number, ext2_inode& inode);
  bool read_target(ext2_ino_t number, ext2_inode& inode);
  static int add_inline_name(ext2_ino_t, int entry, ext2_dir_entry*, int, int, char*, void*);

  ext2_filsys fs_;
  ByteRange volume_;
  LayoutStreamWriter& out_;
  OnBlocks used_;
  WorkBudget budget_;
  TreeDamage damage_;
  InodeSet seen_;  ///< files and directories reported so far
  std::vector<Directory> open_;
  std::string path_;
  FileEntry entry_;  ///< reused, to spare allocations
  BlockMap map_;
  std::vector<char> block_;
};

}  // namespace vmpack
