// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/ready_file.hpp"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "libvmpack/base/error.hpp"

namespace vmpack {

ReadyFile::ReadyFile(std::string path, const std::vector<std::string>& uris) : path_(std::move(path)) {
  if (path_.empty()) return;
  const std::string temporary = path_ + ".new";
  std::ofstream file(temporary);
  for (const auto& uri : uris) file << uri << '\n';
  file.close();
  if (!file || std::rename(temporary.c_str(), path_.c_str()) != 0)
    throw system_error(errno, "cannot write", path_);
}

ReadyFile::~ReadyFile() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

}  // namespace vmpack
