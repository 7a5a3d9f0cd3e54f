// SPDX-License-Identifier: Apache-2.0
// Spans of time as people write them.
#pragma once

#include <cstdint>
#include <string_view>

namespace vmpack {

/// "90", "90s", "30m", "24h", "7d", "2w": in seconds. Throws kInvalid.
[[nodiscard]] std::int64_t parse_duration(std::string_view text);

}  // namespace vmpack
