// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/policy.hpp"

#include <array>

namespace vmpack {
namespace {

constexpr std::array<ClassPolicy, kObjectClassCount> kPolicies = [] {
  std::array<ClassPolicy, kObjectClassCount> policies{};
  const auto of = [&policies](ObjectClass object_class) -> ClassPolicy& {
    return policies[static_cast<std::size_t>(object_class)];
  };
  of(ObjectClass::kBoot).cutting = Cutting::kFixed;
  of(ObjectClass::kFsMetadata).cutting = Cutting::kFixed;
  of(ObjectClass::kFsMetadata).stays_in_place = true;
  // Archives hardly get smaller: a higher level only takes longer.
  of(ObjectClass::kCompressed).level_max = 1;
  // Residue is mostly archives too, and what is left of many files one behind the other: cut fine, it is
  // found again.
  of(ObjectClass::kFree).finer = 4;
  of(ObjectClass::kFree).level_max = 1;
  of(ObjectClass::kSwap).level_max = 1;
  return policies;
}();

}  // namespace

const ClassPolicy& policy_of(ObjectClass object_class) {
  return kPolicies[static_cast<std::size_t>(object_class)];
}

}  // namespace vmpack
