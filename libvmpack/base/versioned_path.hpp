// SPDX-License-Identifier: Apache-2.0
// Paths that tell a version, as in "/usr/lib/libz.so.1.2.13".
#pragma once

#include <string>
#include <string_view>

namespace vmpack {

/// `path` with a "#" for each run of digits: versions of a file whose name tells the version have it in
/// common.
[[nodiscard]] std::string path_without_version(std::string_view path);

}  // namespace vmpack
