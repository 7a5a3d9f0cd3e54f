// SPDX-License-Identifier: Apache-2.0
// What an object is. Stored in frames: a value, once given, keeps its meaning for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace vmpack {

enum class ObjectClass : std::uint8_t {
  kOpaque = 0,      ///< nothing is known about it
  kBoot = 1,        ///< boot loader areas, kernels, initial RAM disks
  kFsMetadata = 2,  ///< what a file system stores about its files, and partition tables
  kText = 3,
  kExecutable = 4,
  kCompressed = 5,  ///< already compressed by whoever made it
  kDatabase = 6,
  kSwap = 7,
  kFree = 8,        ///< residue in blocks that a file system calls free
  kData = 9,        ///< a file of no other class
  kMapNode = 10,    ///< block-map directories and pages
  kFileTable = 11,  ///< file-table pages
};

inline constexpr std::size_t kObjectClassCount = 12;

[[nodiscard]] std::string_view to_string(ObjectClass object_class);
/// nullopt for a value that this version does not know.
[[nodiscard]] std::optional<ObjectClass> object_class_from(std::uint8_t value);

}  // namespace vmpack
