// SPDX-License-Identifier: Apache-2.0
// Draws which line of a list descends from which: a column of glyphs to put before the lines.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vmpack::cli {

struct GraphLine {
  std::string glyphs;
  std::optional<std::size_t> entry;  ///< whose line it is; none where only branches meet
};

/// `parents` gives for each entry the entry it descends from: one further down, or none. A branch meets the
/// line of its sister as soon as it can, so that many children of one parent stay in two columns. Without
/// `utf8` in ASCII.
[[nodiscard]] std::vector<GraphLine> draw_graph(std::span<const std::optional<std::size_t>> parents,
                                                bool utf8);

}  // namespace vmpack::cli
