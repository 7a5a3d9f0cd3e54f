// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <utility>

#include "server/config/file.hpp"

namespace vmpack::config {
namespace {

/// Letters to insert, delete or change (Levenshtein's distance).
std::size_t distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t changed = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

constexpr std::size_t kWordBytesMax = 64;

}  // namespace

std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known) {
  if (word.size() > kWordBytesMax || known.empty()) return {};
  const auto nearest = std::ranges::min_element(known, {}, [&](auto other) { return distance(word, other); });
  return distance(word, *nearest) <= nearest->size() / 2 ? *nearest : std::string_view();
}

}  // namespace vmpack::config
