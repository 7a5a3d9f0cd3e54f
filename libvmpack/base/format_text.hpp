// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them, and the same way everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vmpack {

/// "0 B", "512 B", "1.5 KiB", "2.0 GiB": binary units, one decimal.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// "62,031".
[[nodiscard]] std::string format_count(std::uint64_t count);
/// "12 s", "5 min", "3 h", "12 days": the largest unit that gives a whole number. A time to come is "0 s".
[[nodiscard]] std::string format_age(std::int64_t seconds);
/// Seconds since 1970 as "2026-11-24T10:00:00Z".
[[nodiscard]] std::string format_time(std::int64_t seconds);
/// `text` with control characters and invalid UTF-8 replaced, safe to show on a terminal: names come from
/// hostile images.
[[nodiscard]] std::string printable(std::string_view text);
/// The same for a text of several lines, whose line ends and tabs stay.
[[nodiscard]] std::string printable_text(std::string_view text);

}  // namespace vmpack
