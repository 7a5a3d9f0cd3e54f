// SPDX-License-Identifier: Apache-2.0
#include "tools/report/html.hpp"

#include <fmt/core.h>

#include "libvmpack/base/format_text.hpp"

namespace vmpack::cli {

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  return fmt::format("{:.1f}",
                     whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

}  // namespace vmpack::cli
