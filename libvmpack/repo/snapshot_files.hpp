// SPDX-License-Identifier: Apache-2.0
// Which file table belongs to a snapshot: its manifest's, or one that was made when it was committed already.
#pragma once

#include <optional>
#include <string_view>

#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The note that names the file table of a snapshot that was committed before it was inspected. Frames of the
/// table's pages are among the snapshot's places, as if its manifest named it.
inline constexpr std::string_view kFileTableNote = "files/table";

/// nullopt where nothing is known of the snapshot's files. Throws kDamaged.
[[nodiscard]] std::optional<FileTableDigest> file_table_of(const Repository& repository,
                                                           const SnapshotDigest& snapshot,
                                                           const Manifest& manifest);

/// Says so of a snapshot. The table's root and the places of its pages must be there already.
void put_file_table_note(const Repository& repository, const SnapshotDigest& snapshot,
                         const FileTableDigest& table);

}  // namespace vmpack
