// SPDX-License-Identifier: Apache-2.0
// From what was given to settings, and back to a text for people.
#pragma once

#include <string>

#include "server/config/file.hpp"

namespace vmpack::config {

/// Without a file and without flags: what the environment says, and defaults.
[[nodiscard]] Settings default_settings();

/// Defaults, then what the file says, then what the flags say. Throws kInvalid naming the flag, or the line
/// of the file.
[[nodiscard]] Settings make_settings(const ConfigFile& file, const GivenByName& flags);

/// All of them as a file would say them (--check-config). Secrets are not among the settings, only their
/// files.
[[nodiscard]] std::string describe(const Settings& settings);

}  // namespace vmpack::config
