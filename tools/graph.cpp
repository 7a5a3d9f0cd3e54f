// SPDX-License-Identifier: Apache-2.0
#include "tools/graph.hpp"

#include <algorithm>
#include <string_view>

namespace vmpack::cli {
namespace {

struct Glyphs {
  std::string_view line;      // a branch that goes on
  std::string_view fork;      // where a branch comes in
  std::string_view corner;    // the branch that ends there
  std::string_view crossing;  // a branch that another one crosses
  std::string_view across;
};

constexpr Glyphs kUtf8 = {"│", "├", "╯", "┼", "─"};
constexpr Glyphs kAscii = {"|", "|", "'", "+", "-"};
constexpr std::string_view kEntry = "o";

/// Which entry each column waits for; none: the column is free.
using Columns = std::vector<std::optional<std::size_t>>;

std::size_t take_column(Columns& columns, std::size_t entry) {
  auto column = std::ranges::find(columns, std::optional(entry));
  if (column == columns.end()) column = std::ranges::find(columns, std::optional<std::size_t>());
  if (column == columns.end()) column = columns.insert(columns.end(), std::nullopt);
  return static_cast<std::size_t>(column - columns.begin());
}

std::string entry_line(const Columns& columns, std::size_t own, const Glyphs& glyphs) {
  std::string text;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (i > 0) text += ' ';
    text += i == own ? kEntry : columns[i] ? glyphs.line : " ";
  }
  return text;
}

/// The line on which the branch in column `to` ends at the one in `from`.
std::string meeting_line(const Columns& columns, std::size_t from, std::size_t to, const Glyphs& glyphs) {
  std::string text;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const bool between = i > from && i < to;
    if (i > 0) text += i > from && i <= to ? glyphs.across : " ";
    if (between) {
      text += columns[i] ? glyphs.crossing : glyphs.across;
    } else {
      text += i == from ? glyphs.fork : i == to ? glyphs.corner : columns[i] ? glyphs.line : " ";
    }
  }
  return text;
}

}  // namespace

std::vector<GraphLine> draw_graph(std::span<const std::optional<std::size_t>> parents, bool utf8) {
  const Glyphs& glyphs = utf8 ? kUtf8 : kAscii;
  std::vector<GraphLine> lines;
  Columns columns;
  for (std::size_t entry = 0; entry < parents.size(); ++entry) {
    const std::size_t own = take_column(columns, entry);
    lines.push_back({entry_line(columns, own, glyphs), entry});
    columns[own].reset();
    if (parents[entry]) {
      const auto sister = std::ranges::find(columns, parents[entry]);
      columns[own] = parents[entry];
      if (sister != columns.end()) {
        const auto sister_column = static_cast<std::size_t>(sister - columns.begin());
        const auto [from, to] = std::minmax({own, sister_column});
        lines.push_back({meeting_line(columns, from, to, glyphs), std::nullopt});
        columns[to].reset();
      }
    }
    while (!columns.empty() && !columns.back()) columns.pop_back();
  }
  return lines;
}

}  // namespace vmpack::cli
