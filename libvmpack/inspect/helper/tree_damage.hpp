// SPDX-License-Identifier: Apache-2.0
// What went wrong while a file system was walked, for the warning that people see.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmpack {

struct TreeDamage {
  std::uint64_t directories = 0;  ///< could not be read, or only in part
  std::uint64_t names = 0;        ///< lead nowhere sensible, or twice to the same directory
  std::uint64_t files = 0;        ///< whose block map makes no sense
};

/// "1 name", "2 names".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view one, std::string_view many);

/// Adds a phrase for each kind of damage that there is.
void describe(const TreeDamage& damage, std::vector<std::string>& into);

}  // namespace vmpack
