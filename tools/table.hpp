// SPDX-License-Identifier: Apache-2.0
// Lines of text in columns that align.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace vmpack::cli {

/// Prints `rows` with two spaces between columns; columns of numbers, by `right_aligned`, end at their right
/// edge.
void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows,
                 const std::vector<bool>& right_aligned);

}  // namespace vmpack::cli
