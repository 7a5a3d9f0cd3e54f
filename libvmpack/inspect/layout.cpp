// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/layout.hpp"

#include <fmt/core.h>

namespace vmpack {

std::string name_of(const Volume& volume) {
  if (!volume.name.empty()) return fmt::format("logical volume {}", volume.name);
  return volume.number == 0 ? std::string("the disk") : fmt::format("partition {}", volume.number);
}

}  // namespace vmpack
