// SPDX-License-Identifier: Apache-2.0
// Guesses a file's class from its name and mode. A wrong guess costs some compression, never a byte.
#pragma once

#include <string_view>

#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/base/object_class.hpp"

namespace vmpack {

[[nodiscard]] ObjectClass classify_file(const FileEntry& file);

/// What follows the last dot of a path's last part, in the path's own letters, or nothing: "gz", "so", "".
[[nodiscard]] std::string_view file_extension(std::string_view path);

}  // namespace vmpack
