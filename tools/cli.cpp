// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/store.hpp"
#include "tools/moving.hpp"
#include "tools/progress_bar.hpp"

namespace vmpack::cli {
namespace {

void print_error(const Context& context, const std::string& message, const std::string& hint) {
  context.err << "vmpack: " << printable(message);
  if (!hint.empty()) context.err << "; " << printable(hint);
  context.err << '\n';
}

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_flag("--json", options.json, "Print facts as JSON");
  command.add_flag("-q,--quiet", options.quiet, "Print nothing but errors");
  command.add_flag("-v,--verbose", options.verbose, "Tell more on the way");
}

void add_repository_option(CLI::App& command, CommonOptions& options) {
  command.add_option("--repo", options.repository, "Repository: a folder, or s3://BUCKET/PREFIX")
      ->envname("VMPACK_REPO")
      ->type_name("REPO");
}

std::shared_ptr<Repository> open_repository(const CommonOptions& options) {
  if (options.repository.empty()) {
    throw Error(ErrorCode::kInvalid, "no repository is named", "give --repo REPO, or set VMPACK_REPO");
  }
  return Repository::open(open_store(options.repository));
}

std::unique_ptr<Progress> make_progress(const Context& context, const CommonOptions& options) {
  return std::make_unique<ProgressBar>(context.err, context.err_is_terminal && !options.quiet,
                                       !options.quiet);
}

std::map<std::string, std::string> parse_labels(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> labels;
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || text.size() > limits::kLabelBytesMax) {
      throw Error(ErrorCode::kInvalid, fmt::format("'{}' is not a label", printable(text)),
                  "write --label KEY=VALUE");
    }
    labels[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return labels;
}

std::string short_digest(const Digest& digest) { return digest.hex().substr(0, 12); }

int run(const std::vector<std::string>& arguments, const Context& context) {
  Action action;
  CLI::App app(
      "Packs families of virtual-machine disk images into one small repository.\n"
      "vmserve boots them from it over the network.",
      "vmpack");
  app.set_version_flag("--version", "vmpack " VMPACK_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done and found something (a difference, damage).\n"
      "'vmpack COMMAND --help' tells more.");
  add_init(app, context, action);
  add_inspect(app, context, action);
  add_ingest(app, context, action);
  add_snapshot(app, context, action);
  add_list(app, context, action);
  add_show(app, context, action);
  add_restore(app, context, action);
  add_verify(app, context, action);
  add_stats(app, context, action);
  add_explain(app, context, action);
  add_log(app, context, action);
  add_tag(app, context, action);
  add_untag(app, context, action);
  add_mount(app, context, action);
  add_diff(app, context, action);
  add_files(app, context, action);
  add_cat(app, context, action);
  add_forget(app, context, action);
  add_hold(app, context, action);
  add_gc(app, context, action);
  add_copy(app, context, action);
  add_export(app, context, action);
  add_import(app, context, action);
  add_repair(app, context, action);
  add_purge(app, context, action);
  add_doctor(app, context, action);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
    return action();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error, context.out, context.err);
      return kDone;
    }
    print_error(context, error.what(), "'vmpack --help' shows how");
    return kWrongUsage;
  } catch (const Error& error) {
    print_error(context, error.what(), error.hint());
    return error.code() == ErrorCode::kInvalid ? kWrongUsage : kFailed;
  } catch (const std::bad_alloc&) {
    print_error(context, "out of memory", "");
    return kFailed;
  } catch (const std::exception& error) {
    print_error(context, error.what(), "");
    return kFailed;
  }
}

}  // namespace vmpack::cli
