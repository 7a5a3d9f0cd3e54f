// SPDX-License-Identifier: Apache-2.0
// Files found in any order, each told of where it lies and of its names; reported in order of their paths.
// For file systems that are read faster in the order of their own tables than by walking directories.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/helper/tree_damage.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

class FileTree {
 public:
  using Index = std::uint32_t;

  struct File {
    std::uint64_t key = 0;  ///< by which names in a directory speak of it, unique
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_ns = 0;
    FileType type = FileType::kRegular;
    bool hidden = false;  ///< neither it nor what is below it is reported
  };

  explicit FileTree(ByteRange volume) : volume_(volume) {}

  /// Makes room for about as many files, with a name each.
  void reserve(std::size_t files);
  /// Throws Error when there are too many.
  Index add(const File& file);
  /// Content of the file added last, in order of `file_offset`; offset in the volume. What does not lie in
  /// the volume or is out of order makes the file one without extents, and damage.
  void add_run(std::uint64_t file_offset, std::uint64_t volume_offset, std::uint64_t length);
  /// Makes the file added last one without extents, and damage.
  void spoil_last();
  /// `directory`: the key of the directory that the name is in.
  void add_name(std::uint64_t directory, Index file, std::string_view name);

  [[nodiscard]] std::size_t size() const { return files_.size(); }
  [[nodiscard]] const File& file(Index index) const { return files_[index].facts; }
  [[nodiscard]] TreeDamage& damage() { return damage_; }

  /// Reports everything below `root`, a directory, and counts names that do not lead there. Call once.
  void report(Index root, LayoutStreamWriter& out);

 private:
  struct Entry {
    File facts;
    std::uint64_t first_extent = 0;
    std::uint32_t extent_count = 0;
    bool damaged = false;
    bool visited = false;  ///< as a directory: entered; as a file: reported with its extents
  };
  struct Name {
    std::uint64_t directory = 0;
    std::uint64_t at = 0;  ///< in names_, with a slash behind it
    Index file = 0;
    std::uint32_t bytes = 0;
  };
  /// One step of the walk: a file itself, or everything below it.
  struct Step {
    const Name* name = nullptr;
    bool below = false;
  };
  struct Directory {
    std::size_t path_bytes = 0;  ///< of this directory's own path; 0 for the root
    bool hidden = false;
    std::vector<Step> steps;
    std::size_t next_step = 0;
  };

  [[nodiscard]] std::string_view text(const Name& name, bool with_slash = false) const {
    return std::string_view(names_).substr(name.at, name.bytes + (with_slash ? 1U : 0U));
  }
  void enter(Index index, bool hidden);
  void take(Directory& directory, const Step& step);
  void report_file(Index index);

  ByteRange volume_;
  std::vector<Entry> files_;
  std::vector<FileExtent> extents_;
  std::vector<Name> name_list_;
  std::string names_;
  TreeDamage damage_;

  // While reporting.
  LayoutStreamWriter* out_ = nullptr;
  std::vector<Directory> open_;
  std::string path_;
  FileEntry entry_;  ///< reused, to spare allocations
  std::uint64_t names_seen_ = 0;
};

}  // namespace vmpack
