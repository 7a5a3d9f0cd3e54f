// SPDX-License-Identifier: Apache-2.0
// The files of one volume, found by path in the pages of a file table.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {

/// Pages of one volume, sorted, and how they are read: from a store, or from memory. What reading a page
/// throws, the functions below do.
struct VolumeFiles {
  std::vector<FileTablePage> pages;
  std::function<std::vector<FileRecord>(const FileTablePage&)> read;  ///< any thread
};

/// The file with exactly that path. Reads one page.
[[nodiscard]] std::optional<FileRecord> find_file(const VolumeFiles& files, std::string_view path);

/// The file that `path` leads to: through symlinks, as the guest would go if it had this volume alone; with
/// `follow_last` also where the path ends with one. Throws kNotFound when such a link leads nowhere.
[[nodiscard]] std::optional<FileRecord> follow_path(const VolumeFiles& files, std::string_view path,
                                                    bool follow_last);

/// Calls for each file in a folder ("/", "/etc"), sorted by path: for those right in it, or for all below it.
/// Reads no page that holds none of them for certain.
void for_each_in(const VolumeFiles& files, std::string_view folder, bool all_below,
                 const std::function<void(FileRecord file)>& each);

/// Of all hard links to a file, the one that carries its extents. Reads pages until it is found.
[[nodiscard]] std::optional<FileRecord> find_with_extents(const VolumeFiles& files, std::uint64_t inode);

}  // namespace vmpack
