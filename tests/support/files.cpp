// SPDX-License-Identifier: Apache-2.0
#include "tests/support/files.hpp"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack::test {

Bytes read_file(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY);
  Bytes bytes(std::filesystem::file_size(path));
  bytes.resize(read_at(file.get(), bytes, 0, path));
  return bytes;
}

void write_file(const std::string& path, ByteView bytes) {
  const auto file = FileDescriptor::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  write_at(file.get(), bytes, 0, path);
}

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path().lexically_relative(folder).string());
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace vmpack::test
