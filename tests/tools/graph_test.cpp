// SPDX-License-Identifier: Apache-2.0
#include "tools/graph.hpp"

#include <catch2/catch.hpp>

using vmpack::cli::draw_graph;

namespace {

using Parents = std::vector<std::optional<std::size_t>>;

std::vector<std::string> glyphs_of(const Parents& parents, bool utf8 = false) {
  std::vector<std::string> lines;
  for (const auto& line : draw_graph(parents, utf8)) lines.push_back(line.glyphs);
  return lines;
}

const std::nullopt_t none = std::nullopt;

}  // namespace

TEST_CASE("a chain is one column") {
  CHECK(glyphs_of({1, 2, none}) == std::vector<std::string>{"o", "o", "o"});
}

TEST_CASE("nothing is drawn of nothing") { CHECK(glyphs_of({}).empty()); }

TEST_CASE("what has no parent begins anew in the same column") {
  CHECK(glyphs_of({none, none, none}) == std::vector<std::string>{"o", "o", "o"});
}

TEST_CASE("a branch meets the line of its sister at once") {
  CHECK(glyphs_of({2, 3, 3, none}) == std::vector<std::string>{"o", "| o", "o |", "|-'", "o"});
  CHECK(glyphs_of({2, 2, none}) == std::vector<std::string>{"o", "| o", "|-'", "o"});
  CHECK(glyphs_of({2, 2, none}, true) == std::vector<std::string>{"o", "│ o", "├─╯", "o"});
}

TEST_CASE("many children of one parent take two columns") {
  Parents parents(100, 100);
  parents.emplace_back(none);
  for (const std::string& line : glyphs_of(parents)) CHECK(line.size() <= 3);
}

TEST_CASE("a branch crosses those between") {
  // 0 and 2 have the parent 4; 1 has the parent 3.
  CHECK(glyphs_of({4, 3, 4, none, none}) ==
        std::vector<std::string>{"o", "| o", "| | o", "|-+-'", "| o", "o"});
  CHECK(glyphs_of({4, 3, 4, none, none}, true)[3] == "├─┼─╯");
}

TEST_CASE("each line knows whose it is") {
  const auto lines = draw_graph(Parents{2, 2, none}, false);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].entry == 0);
  CHECK(lines[1].entry == 1);
  CHECK_FALSE(lines[2].entry);
  CHECK(lines[3].entry == 2);
}
