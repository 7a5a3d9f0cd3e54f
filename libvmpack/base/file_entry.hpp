// SPDX-License-Identifier: Apache-2.0
// A file inside an image, as inspection finds it and as the file table records it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vmpack {

/// Values as in formats/file_table.fbs.
enum class FileType : std::uint8_t {
  kUnknown,
  kRegular,
  kDirectory,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kFifo,
  kSocket
};

/// A run of a file's content on the disk. Offsets in bytes; disk_offset counts from the start of the image.
struct FileExtent {
  std::uint64_t file_offset = 0;
  std::uint64_t disk_offset = 0;
  std::uint64_t length = 0;
};

struct FileEntry {
  std::string path;  ///< absolute in its volume, "/etc/fstab"; bytes as the file system has them
  FileType type = FileType::kUnknown;
  std::uint16_t mode = 0;  ///< permission bits with setuid, setgid, sticky
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t inode = 0;
  std::int64_t modified_ns = 0;  ///< since 1970
  std::uint64_t size = 0;
  std::string target;  ///< of a symlink
  /// Mapped, written content in file order; holes and unwritten (preallocated) extents are left out. Empty
  /// for a file whose content is not in blocks of its own (inline, encrypted, compressed by the file system).
  /// Of several hard links only the first path in order carries extents.
  std::vector<FileExtent> extents;
};

}  // namespace vmpack
