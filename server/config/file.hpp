// SPDX-License-Identifier: Apache-2.0
// vmserve's file of settings, in TOML (docs/serving.md). Only read here: values are looked at where those of
// flags are.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "server/config/setting.hpp"

namespace vmpack::config {

struct Given {
  Texts texts;
  std::string where;  ///< "--cache", or "vmserve.toml:12: cache"
};
using GivenByName = std::map<std::string, Given, std::less<>>;

struct ConfigFile {
  GivenByName settings;
  GivenByName limits;
  std::vector<AccessRule> access;
  std::vector<TokenSettings> tokens;
};

/// Throws kInvalid naming file, line and what is allowed; kLimit for a file over 1 MiB; kNotFound, kIo.
[[nodiscard]] ConfigFile read_config_file(const std::string& path);

/// The one of `known` that was most likely meant by `word`; empty when none is near.
[[nodiscard]] std::string_view nearest_word(std::string_view word,
                                            const std::vector<std::string_view>& known);

}  // namespace vmpack::config
