// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/cache_folder.hpp"

#include <unistd.h>

#include <cstdlib>

namespace vmpack {

std::string cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (cache != nullptr && *cache != '\0') return std::string(cache) + "/vmpack";
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
  if (::geteuid() != 0 && home != nullptr) return std::string(home) + "/.cache/vmpack";
  return "/var/cache/vmpack";
}

}  // namespace vmpack
