// SPDX-License-Identifier: Apache-2.0
// vmserve's command line, and the file that it names.
#pragma once

#include <optional>
#include <ostream>
#include <string_view>

#include "server/settings.hpp"

namespace vmpack {

/// What to serve, or with what to exit: it was --help, --version or --check-config (0), or it makes no sense
/// (2).
struct ParsedOptions {
  std::optional<Settings> settings;
  int exit_code = 0;
};
[[nodiscard]] ParsedOptions parse_options(int argc, const char* const* argv, std::ostream& out,
                                          std::ostream& err);

/// The same command line once more, with the file as it is now. Throws kInvalid and what reading the file
/// throws.
[[nodiscard]] Settings reread_options(int argc, const char* const* argv);

/// One line on `err`: what is wrong, and what to do about it.
void print_error(std::ostream& err, std::string_view message, std::string_view hint);

}  // namespace vmpack
