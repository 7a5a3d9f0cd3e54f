// SPDX-License-Identifier: Apache-2.0
#include "tests/support/html.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace vmpack::test {
namespace {

constexpr std::string_view kDoctype = "<!DOCTYPE html>\n";

bool is_void(std::string_view name) { return name == "meta" || name == "br" || name == "hr"; }

class Parser {
 public:
  explicit Parser(std::string_view page) : page_(page) {}

  std::vector<HtmlElement> parse() {
    if (!page_.starts_with(kDoctype)) fail("no doctype");
    at_ = kDoctype.size();
    while (at_ < page_.size()) {
      if (page_[at_] != '<') {
        add_text(take_character());
      } else if (page_.substr(at_).starts_with("</")) {
        close();
      } else {
        open();
      }
    }
    if (!open_.empty()) fail("elements are left open");
    return std::move(elements_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw std::runtime_error(fmt::format("{} at {}: {}", what, at_, page_.substr(at_, 40)));
  }

  std::string take_character() {
    static constexpr std::array<std::pair<std::string_view, char>, 5> kEntities = {
        {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}}};
    const char c = page_[at_];
    if (c == '<' || c == '>') fail("a stray bracket");
    if (c != '&') {
      ++at_;
      return {c};
    }
    for (const auto& [entity, character] : kEntities) {
      if (!page_.substr(at_).starts_with(entity)) continue;
      at_ += entity.size();
      return {character};
    }
    fail("an unknown entity");
  }

  void add_text(const std::string& text) {
    for (const std::size_t i : open_) elements_[i].text += text;
  }

  std::string take_name() {
    const std::size_t start = at_;
    while (at_ < page_.size() &&
           (std::isalnum(static_cast<unsigned char>(page_[at_])) != 0 || page_[at_] == '-'))
      ++at_;
    if (at_ == start) fail("no name");
    return std::string(page_.substr(start, at_ - start));
  }

  void expect(std::string_view text) {
    if (!page_.substr(at_).starts_with(text)) fail(fmt::format("no '{}'", text));
    at_ += text.size();
  }

  void open() {
    expect("<");
    HtmlElement element{take_name(), {}, {}};
    while (at_ < page_.size() && page_[at_] == ' ') {
      ++at_;
      const std::string name = take_name();
      expect("=\"");
      std::string value;
      while (at_ < page_.size() && page_[at_] != '"') value += take_character();
      expect("\"");
      if (!element.attributes.emplace(name, value).second) fail("an attribute is there twice");
    }
    expect(">");
    const std::string name = element.name;
    elements_.push_back(std::move(element));
    if (name == "style") {
      const std::size_t end = page_.find("</style>", at_);
      if (end == std::string_view::npos) fail("an open style");
      at_ = end + std::string_view("</style>").size();
    } else if (!is_void(name)) {
      open_.push_back(elements_.size() - 1);
    }
  }

  void close() {
    expect("</");
    const std::string name = take_name();
    expect(">");
    if (open_.empty() || elements_[open_.back()].name != name) fail("not nested");
    open_.pop_back();
  }

  std::string_view page_;
  std::size_t at_ = 0;
  std::vector<HtmlElement> elements_;
  std::vector<std::size_t> open_;
};

}  // namespace

std::vector<HtmlElement> parse_html(std::string_view page) { return Parser(page).parse(); }

}  // namespace vmpack::test
