// SPDX-License-Identifier: Apache-2.0
// Numbers of bytes as people write them.
#pragma once

#include <cstdint>
#include <string_view>

namespace vmpack {

/// "1048576", "512K", "64M", "2G", "1T", also as "64MiB": powers of 1024. Throws kInvalid.
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

}  // namespace vmpack
