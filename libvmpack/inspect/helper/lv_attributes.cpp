// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/lv_attributes.hpp"

namespace vmpack {

std::string lv_problem(std::string_view attributes) {
  constexpr std::size_t kType = 0;
  constexpr std::size_t kState = 4;
  if (attributes.size() <= kState) return {};
  switch (attributes[kType]) {
    case 'V':
      return "it is a thin volume";
    case 't':
      return "it is a pool for thin volumes";
    case 'C':
      return "it is cached";
    case 'm':
    case 'M':
    case 'r':
    case 'R':
      return "it is a mirror or RAID";
    case 's':
    case 'S':
    case 'o':
    case 'O':
      return "it is a snapshot or has some";
    default:
      break;
  }
  return attributes[kState] == 'a' ? std::string() : "LVM does not activate it";
}

}  // namespace vmpack
