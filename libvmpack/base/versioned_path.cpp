// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/versioned_path.hpp"

namespace vmpack {

std::string path_without_version(std::string_view path) {
  std::string key;
  key.reserve(path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    const bool digit = path[i] >= '0' && path[i] <= '9';
    if (!digit) {
      key += path[i];
    } else if (key.empty() || key.back() != '#') {
      key += '#';
    }
  }
  return key;
}

}  // namespace vmpack
