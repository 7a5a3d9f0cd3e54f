// SPDX-License-Identifier: Apache-2.0
// Takes HTML of our own making apart, strictly: what a browser would have to guess is an error.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vmpack::test {

struct HtmlElement {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  ///< all that is in it, elements in it included, with entities replaced
};

/// All elements, in the order in which they begin. Throws std::runtime_error on elements that are not closed
/// or not nested, on attributes without quotes, unknown entities, and stray "<", ">" and "&".
[[nodiscard]] std::vector<HtmlElement> parse_html(std::string_view page);

}  // namespace vmpack::test
