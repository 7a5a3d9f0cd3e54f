// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/tree_damage.hpp"

#include <fmt/core.h>

namespace vmpack {

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

void describe(const TreeDamage& damage, std::vector<std::string>& into) {
  if (damage.directories > 0) {
    into.push_back(counted(damage.directories, "damaged directory", "damaged directories"));
  }
  if (damage.names > 0)
    into.push_back(counted(damage.names, "file name that leads nowhere", "file names that lead nowhere"));
  if (damage.files > 0)
    into.push_back(counted(damage.files, "file with a damaged block map", "files with a damaged block map"));
}

}  // namespace vmpack
