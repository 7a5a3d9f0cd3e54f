// SPDX-License-Identifier: Apache-2.0
// The files of a volume in pages that lie in memory.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "libvmpack/snapshot/volume_files.hpp"

namespace vmpack::test {

/// Keeps pages, and counts how many were read.
struct PageStore {
  std::map<FrameDigest, Bytes> pages;
  int pages_read = 0;  // by one thread

  [[nodiscard]] VolumeFiles add(std::vector<FileRecord> files) {
    std::ranges::sort(files, {}, [](const FileRecord& file) { return file.entry.path; });
    const auto keep = [this](Bytes page) {
      const FrameDigest digest(sha256(page));
      pages.insert_or_assign(digest, std::move(page));
      return digest;
    };
    return {build_file_table(0, files, keep).pages, [this](const FileTablePage& page) {
              ++pages_read;
              return decode_file_table_page(pages.at(page.frame), "page");
            }};
  }
};

/// `content` stands for what the file holds; 0 for a file without a digest.
inline FileRecord file_record(std::string path, int content, std::uint64_t size = 4096) {
  FileRecord file;
  file.entry.path = std::move(path);
  file.entry.type = FileType::kRegular;
  file.entry.mode = 0644;
  file.entry.size = size;
  file.entry.modified_ns = 1;
  if (content != 0) {
    file.content = sha256(struct_bytes(content));
    file.entry.extents = {{0, 4096, size}};
  }
  return file;
}

}  // namespace vmpack::test
