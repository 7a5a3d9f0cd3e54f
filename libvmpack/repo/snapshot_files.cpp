// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/snapshot_files.hpp"

#include <fmt/core.h>

#include "libvmpack/base/json.hpp"

namespace vmpack {

std::optional<FileTableDigest> file_table_of(const Repository& repository, const SnapshotDigest& snapshot,
                                             const Manifest& manifest) {
  if (manifest.files) return manifest.files;
  const auto note = repository.note(snapshot, kFileTableNote);
  if (!note) return std::nullopt;
  const std::string where = fmt::format("the note {} of {}", kFileTableNote, snapshot.hex());
  return read_json(*note, where, [&](const OrderedJson& json) {
    return FileTableDigest(digest_from_json(json.at("table"), where));
  });
}

void put_file_table_note(const Repository& repository, const SnapshotDigest& snapshot,
                         const FileTableDigest& table) {
  repository.put_note(snapshot, kFileTableNote, dump_json({{"table", table.hex()}}));
}

}  // namespace vmpack
