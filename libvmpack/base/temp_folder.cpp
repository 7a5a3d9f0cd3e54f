// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/temp_folder.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "libvmpack/base/error.hpp"

namespace vmpack {

std::string temp_folder() {
  const char* chosen = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::error_code failed;
  const auto folder =
      std::filesystem::canonical(chosen != nullptr && *chosen == '/' ? chosen : "/var/tmp", failed);
  return failed ? "/tmp" : folder.string();
}

FileDescriptor nameless_file() {
  const std::string folder = temp_folder();
  FileDescriptor file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  std::string name = folder + "/vmpack-XXXXXX";  // not every file system has files without a name
  file = FileDescriptor(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) throw system_error(errno, "cannot make a temporary file in", folder);
  ::unlink(name.c_str());
  return file;
}

}  // namespace vmpack
