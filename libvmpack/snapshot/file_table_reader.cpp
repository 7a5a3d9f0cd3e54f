// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_table_reader.hpp"

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {

void for_each_file(Store& store, const Places& places, const FileTableDigest& table,
                   const std::function<void(std::uint32_t volume, FileRecord file)>& each) {
  const std::string key = file_table_key(table);
  const Bytes bytes = store.get(key, limits::kFileTableRootBytesMax);
  if (sha256(bytes) != table) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its bytes do not match its name", key),
                "restore the file from a copy of the repository");
  }
  for (const FileTableVolume& volume : decode_file_table_root(bytes, key).volumes) {
    for (const FileTablePage& page : volume.pages) {
      const FramePtr frame = read_placed_frame(store, places, page.frame);
      for (FileRecord& file : decode_file_table_page(frame->bytes, key)) each(volume.volume, std::move(file));
    }
  }
}

}  // namespace vmpack
