// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/object_class.hpp"

#include <array>

namespace vmpack {
namespace {

constexpr std::array<std::string_view, kObjectClassCount> kNames = {
    "opaque",   "boot", "fs-metadata", "text", "executable", "compressed",
    "database", "swap", "free",        "data", "map-node",   "file-table"};

}  // namespace

std::string_view to_string(ObjectClass object_class) {
  return kNames[static_cast<std::size_t>(object_class)];
}

std::optional<ObjectClass> object_class_from(std::uint8_t value) {
  if (value >= kObjectClassCount) return std::nullopt;
  return static_cast<ObjectClass>(value);
}

}  // namespace vmpack
