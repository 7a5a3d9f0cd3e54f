// SPDX-License-Identifier: Apache-2.0
// vmserve's command line.
#pragma once

#include <optional>
#include <ostream>
#include <string_view>

#include "server/settings.hpp"

namespace vmpack {

/// The command line, or with what to exit: it was --help or --version (0), or it makes no sense (2).
struct ParsedOptions {
  std::optional<Settings> settings;
  int exit_code = 0;
};
[[nodiscard]] ParsedOptions parse_options(int argc, const char* const* argv, std::ostream& out,
                                          std::ostream& err);

/// One line on `err`: what is wrong, and what to do about it.
void print_error(std::ostream& err, std::string_view message, std::string_view hint);

}  // namespace vmpack
