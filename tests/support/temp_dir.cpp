// SPDX-License-Identifier: Apache-2.0
#include "tests/support/temp_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "libvmpack/base/error.hpp"

namespace vmpack::test {

TempDir::TempDir() : TempDir(std::filesystem::temp_directory_path().string()) {}

TempDir::TempDir(const std::string& parent) : path_(parent + "/vmpack-test-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw system_error(errno, "cannot make a folder below", parent);
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

}  // namespace vmpack::test
