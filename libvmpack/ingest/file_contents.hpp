// SPDX-License-Identifier: Apache-2.0
// What the file table says of each file's content, from the objects that the files were cut into.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/ingest/window.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {

/// Not for use by two threads at once.
class FileContents {
 public:
  /// `layout` must outlive this.
  explicit FileContents(const Layout& layout) : layout_(layout) { make_room(); }

  /// After the layout got more files: none that it had may have changed its place.
  void make_room();

  /// Takes the objects of files in a window that was cut.
  void add(const Window& window);

  /// Says what is known of a file without its objects.
  void know(std::uint32_t volume, std::uint32_t file, const Digest& content);

  /// The records of each volume's files, sorted by path. Leaves nothing here.
  [[nodiscard]] std::vector<std::vector<FileRecord>> take_records();

 private:
  struct Piece {
    std::uint64_t offset;
    std::uint64_t bytes;
    ObjectDigest digest;
  };
  struct Content {
    std::vector<Piece> pieces;
    std::optional<Digest> known;
  };

  [[nodiscard]] std::vector<FileRecord> records(std::size_t volume);
  static std::optional<Digest> digest_of(Content& content, const FileEntry& file);

  const Layout& layout_;
  std::vector<std::vector<Content>> contents_;
};

}  // namespace vmpack
