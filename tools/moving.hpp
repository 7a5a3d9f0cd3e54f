// SPDX-License-Identifier: Apache-2.0
// Commands that move snapshots between repositories and mend them.
#pragma once

#include "tools/cli.hpp"

namespace vmpack::cli {

void add_copy(CLI::App& app, const Context& context, Action& action);
void add_export(CLI::App& app, const Context& context, Action& action);
void add_import(CLI::App& app, const Context& context, Action& action);
void add_repair(CLI::App& app, const Context& context, Action& action);
void add_purge(CLI::App& app, const Context& context, Action& action);

}  // namespace vmpack::cli
