// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/policy.hpp"

namespace vmpack {

ClassPolicy policy_of(ObjectClass object_class) {
  switch (object_class) {
    case ObjectClass::kFsMetadata:
      return {.cutting = Cutting::kFixed, .stays_in_place = true};
    case ObjectClass::kDatabase:
      // Overwritten in place, page by page.
      return {.cutting = Cutting::kFixed, .fixed_bytes = 64 * kKiB};
    case ObjectClass::kCompressed:
      // Archives hardly get smaller: a higher level only takes longer.
      return {.level_max = 1};
    case ObjectClass::kFree:
      // Mostly archives too, and what is left of many files one behind the other: cut fine, it is found
      // again.
      return {.finer = 8, .frame_factor = 4, .level_max = 3};
    case ObjectClass::kSwap:
      return {.level_max = 1};
    default:
      return {};
  }
}

}  // namespace vmpack
