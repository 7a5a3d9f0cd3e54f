// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/temp_folder.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace vmpack {

std::string temp_folder() {
  const char* chosen = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::error_code failed;
  const auto folder =
      std::filesystem::canonical(chosen != nullptr && *chosen == '/' ? chosen : "/var/tmp", failed);
  return failed ? "/tmp" : folder.string();
}

}  // namespace vmpack
