// SPDX-License-Identifier: Apache-2.0
// Which snapshots copy, export and import take, and what they are called on the other side.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/repo/copy.hpp"
#include "libvmpack/repo/repository.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {

/// REF... and the options that choose with them.
struct ChosenReferences {
  std::vector<std::string> references;
  bool all = false;
  std::string as;
};

/// Adds --all and --as.
void add_choosing_options(CLI::App& command, ChosenReferences& chosen);

/// The snapshots that were chosen, each under each of its names: a pattern ("web:*") stands for all
/// references that match. Throws kInvalid, kNotFound.
[[nodiscard]] std::vector<CopyItem> chosen_items(const Repository& repository,
                                                 const ChosenReferences& chosen);

/// Tells what was moved, or would be: `verb` as in "moved". `more` are members that only --json shows.
void print_report(const std::vector<CopyItem>& items, const CopyReport& report, std::string_view verb,
                  const OrderedJson& more, const CommonOptions& options, const Context& context);

}  // namespace vmpack::cli
