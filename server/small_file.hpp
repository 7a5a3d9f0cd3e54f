// SPDX-License-Identifier: Apache-2.0
// Files that an administrator writes for the server: keys, secrets, settings.
#pragma once

#include <string>

namespace vmpack {

/// The whole file. Throws system_error, and kLimit when it is larger than any such file can be (1 MiB).
[[nodiscard]] std::string read_small_file(const std::string& path);

}  // namespace vmpack
