// SPDX-License-Identifier: Apache-2.0
// Which files of two images are not the same, as their file tables tell. Reads no contents.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/volume_files.hpp"

namespace vmpack {

/// What is not the same about a file that both have, whatever its time.
struct FileChanges {
  bool type = false;
  bool content = false;      ///< or where a symlink leads
  bool content_sure = true;  ///< false: it has no digest, and a new time is all that tells
  bool mode = false;
  bool owner = false;

  [[nodiscard]] bool any() const { return type || content || mode || owner; }
};

enum class FileFate : std::uint8_t { kAdded, kRemoved, kChanged, kMoved };

/// One path that is not as it was. Of a file that moved, the later path.
struct FileDifference {
  FileFate fate = FileFate::kChanged;
  std::size_t pair = 0;  ///< of volumes, where the later file lies; of a removed one, where it lay
  std::optional<FileRecord> before;  ///< without extents, like the next
  std::optional<FileRecord> after;
  FileChanges changes;  ///< of what changed or moved

  [[nodiscard]] const FileEntry& entry() const { return after ? after->entry : before->entry; }
};

struct FileDiff {
  std::vector<FileDifference> differences;  ///< sorted by pair of volumes, then path
  std::uint64_t retimed = 0;                ///< files that have another time, and are the same otherwise
};

/// A volume of each image; without one of them, all files were added or removed.
struct VolumePair {
  VolumeFiles before;
  VolumeFiles after;
};

/// Whether two files of one size, which have data and holes in different places, have the same bytes.
using SameBytes = std::function<bool(const FileRecord& before, const FileRecord& after)>;

/// Pages that both volumes of a pair have are passed over unread, by their frames' digests. A file moved when
/// of all that were removed and added just one each has that content. Memory grows with what differs, and by
/// 64 bytes for each file in pages that differ. Throws what reading a page throws.
[[nodiscard]] FileDiff diff_files(const std::vector<VolumePair>& pairs, const SameBytes& same_bytes,
                                  unsigned threads);

}  // namespace vmpack
