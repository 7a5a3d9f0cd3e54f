// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_table_reader.hpp"

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

FileTableRoot read_root(Store& store, const std::string& key, const FileTableDigest& table) {
  const Bytes bytes = store.get(key, limits::kFileTableRootBytesMax);
  if (sha256(bytes) != table) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its bytes do not match its name", key),
                "restore the file from a copy of the repository");
  }
  return decode_file_table_root(bytes, key);
}

}  // namespace

FileTable::FileTable(Store& store, const Places& places, const FileTableDigest& table)
    : places_(places), key_(file_table_key(table)), root_(read_root(store, key_, table)) {}

std::vector<FileRecord> FileTable::page(const FileTablePage& page) const {
  return decode_file_table_page(read_placed_frame(places_, page.frame)->bytes, key_);
}

VolumeFiles FileTable::files(const FileTableVolume& volume) const {
  return {volume.pages, [this](const FileTablePage& place) { return page(place); }};
}

void for_each_file(Store& store, const Places& places, const FileTableDigest& table,
                   const std::function<void(std::uint32_t volume, FileRecord file)>& each) {
  const FileTable opened(store, places, table);
  for (const FileTableVolume& volume : opened.volumes()) {
    const VolumeFiles files = opened.files(volume);
    for (const FileTablePage& place : volume.pages) {
      for (FileRecord& file : files.read(place)) each(volume.volume, std::move(file));
    }
  }
}

}  // namespace vmpack
