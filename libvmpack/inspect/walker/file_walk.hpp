// SPDX-License-Identifier: Apache-2.0
// Walks the directories of a mounted file system and reports every file, in order of path.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/helper/tree_damage.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "libvmpack/inspect/walker/file_extents.hpp"

namespace vmpack {

class FileWalk {
 public:
  /// `root`: the file system's root directory. `to_disk`: as ExtentReader wants it. `free`: what the file
  /// system calls free on the disk. All must outlive this.
  FileWalk(int root, const AddressMap& to_disk, std::span<const ByteRange> free, LayoutStreamWriter& out);

  /// Reports all files. What cannot be read is left out and counted.
  void walk();

  [[nodiscard]] const TreeDamage& damage() const { return damage_; }
  /// Some file lies in what is called free.
  [[nodiscard]] bool free_is_in_use() const { return free_is_in_use_; }
  /// There are more files than a layout can hold.
  [[nodiscard]] bool is_cut_short() const { return is_cut_short_; }

 private:
  struct Child {
    std::uint32_t name_at = 0;  ///< in Directory::names
    std::uint32_t name_bytes = 0;
    ino_t number = 0;         ///< as the directory tells it
    bool is_entered = false;  ///< a directory that is walked here
    struct stat status{};
  };
  /// One step of the walk: a child itself, or everything below it.
  struct Step {
    std::uint32_t child = 0;
    bool below = false;
  };
  struct Directory {
    FileDescriptor file;
    std::size_t path_bytes = 0;  ///< of this directory's own path; 0 for the root
    std::string names;           ///< each followed by a slash
    std::vector<Child> children;
    std::vector<Step> steps;
    std::size_t next_step = 0;

    [[nodiscard]] std::string_view name(const Child& child, bool with_slash = false) const {
      return std::string_view(names).substr(child.name_at, child.name_bytes + (with_slash ? 1U : 0U));
    }
  };

  void enter(FileDescriptor file);
  void list(Directory& into);
  void add_name(const dirent& found, Directory& into);
  void look_at_children(Directory& directory);
  [[nodiscard]] bool is_stand_in(const struct stat& status) const;
  void sort(Directory& directory);
  void report(int directory, const char* name, const struct stat& status);
  void report_extents(int directory, const char* name);
  void read_target(int directory, const char* name);

  int root_;
  bool is_btrfs_ = false;
  std::span<const ByteRange> free_;
  LayoutStreamWriter& out_;
  ExtentReader extents_;
  TreeDamage damage_;
  bool free_is_in_use_ = false;
  bool is_cut_short_ = false;
  std::uint64_t files_ = 0;
  std::set<std::pair<dev_t, ino_t>> seen_;  ///< directories, and files that have more names than one
  std::vector<Directory> open_;
  std::string path_;
  FileEntry entry_;  ///< reused, to spare allocations
};

}  // namespace vmpack
