// SPDX-License-Identifier: Apache-2.0
// Small pieces of text that locations, HTTP, S3 and AWS's files have in common.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace vmpack {

/// Without spaces, tabs and line ends around it.
[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

/// nullopt unless all of `text` is a decimal number that fits.
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// As AWS's signature wants URLs: everything but letters, digits, "-._~" and the characters of `kept` becomes
/// %XX.
[[nodiscard]] std::string escape_url(std::string_view text, std::string_view kept = "");

/// Undoes it; nullopt for a malformed escape.
[[nodiscard]] std::optional<std::string> unescape_url(std::string_view text);

}  // namespace vmpack
