// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/text.hpp"

#include <fmt/core.h>

namespace vmpack {

std::string escape_url(std::string_view text, std::string_view kept) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || kept.find(c) != std::string_view::npos;
    if (plain) {
      escaped.push_back(c);
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

std::optional<std::string> unescape_url(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  while (!text.empty()) {
    if (text.front() != '%') {
      plain.push_back(text.front());
      text.remove_prefix(1);
      continue;
    }
    const std::string_view digits = text.substr(1, 2);
    unsigned char value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || parsed.ptr != digits.data() + 2) return std::nullopt;
    plain.push_back(static_cast<char>(value));
    text.remove_prefix(3);
  }
  return plain;
}

}  // namespace vmpack
