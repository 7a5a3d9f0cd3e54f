// SPDX-License-Identifier: Apache-2.0
// Pieces of HTML that hold text from hostile images.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vmpack::cli {

/// `text` as HTML shows it, in an element or in a quoted attribute: printable(), with no character left that
/// means something to a browser.
[[nodiscard]] std::string html_text(std::string_view text);

/// `part` of `whole` in percent with one decimal, as in "12.3": for people, and for CSS.
[[nodiscard]] std::string percent(std::uint64_t part, std::uint64_t whole);

}  // namespace vmpack::cli
