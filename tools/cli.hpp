// SPDX-License-Identifier: Apache-2.0
// What the commands share: where they read and write, how they fail, the options that each of them has.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/json.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack::cli {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kFound = 3;  ///< done, and found something: a difference, a finding, damage

/// The world as a command sees it; tests give it streams of their own.
struct Context {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
  bool out_is_terminal = false;
  bool out_is_utf8 = false;  ///< more than ASCII may be printed
};

/// Options that every command has.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::string repository;  ///< --repo or $VMPACK_REPO, where the command works on one
};

/// Adds --json, --quiet and --verbose.
void add_common_options(CLI::App& command, CommonOptions& options);
/// Adds --repo.
void add_repository_option(CLI::App& command, CommonOptions& options);

/// Opens the repository that the options name; kInvalid when they name none.
[[nodiscard]] std::shared_ptr<Repository> open_repository(const CommonOptions& options);

/// Draws a bar on a terminal for anything over a second; otherwise only passes on warnings.
[[nodiscard]] std::unique_ptr<Progress> make_progress(const Context& context, const CommonOptions& options);

/// "key=value" texts as labels; throws kInvalid.
[[nodiscard]] std::map<std::string, std::string> parse_labels(const std::vector<std::string>& texts);

/// First twelve digits, enough for people.
[[nodiscard]] std::string short_digest(const Digest& digest);

/// What runs when a command was chosen: returns the exit code.
using Action = std::function<int()>;

// Each adds one command; when it is chosen, parsing sets `action`.
void add_init(CLI::App& app, const Context& context, Action& action);
void add_inspect(CLI::App& app, const Context& context, Action& action);
void add_ingest(CLI::App& app, const Context& context, Action& action);
void add_snapshot(CLI::App& app, const Context& context, Action& action);
void add_list(CLI::App& app, const Context& context, Action& action);
void add_show(CLI::App& app, const Context& context, Action& action);
void add_restore(CLI::App& app, const Context& context, Action& action);
void add_verify(CLI::App& app, const Context& context, Action& action);
void add_stats(CLI::App& app, const Context& context, Action& action);
void add_explain(CLI::App& app, const Context& context, Action& action);
void add_log(CLI::App& app, const Context& context, Action& action);
void add_tag(CLI::App& app, const Context& context, Action& action);
void add_untag(CLI::App& app, const Context& context, Action& action);
void add_mount(CLI::App& app, const Context& context, Action& action);
void add_diff(CLI::App& app, const Context& context, Action& action);
void add_files(CLI::App& app, const Context& context, Action& action);
void add_cat(CLI::App& app, const Context& context, Action& action);
void add_forget(CLI::App& app, const Context& context, Action& action);
void add_gc(CLI::App& app, const Context& context, Action& action);
void add_doctor(CLI::App& app, const Context& context, Action& action);
void add_hold(CLI::App& app, const Context& context, Action& action);

/// Runs one command line (without the program's name). Never throws.
int run(const std::vector<std::string>& arguments, const Context& context);

}  // namespace vmpack::cli
