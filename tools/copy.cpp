// SPDX-License-Identifier: Apache-2.0
// vmpack copy: brings snapshots to another repository, or from one.
#include "libvmpack/repo/copy.hpp"

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/store.hpp"
#include "tools/chosen_references.hpp"
#include "tools/cli.hpp"
#include "tools/moving.hpp"

namespace vmpack::cli {
namespace {

struct CopyCommandOptions : CommonOptions {
  ChosenReferences chosen;
  std::string to;
  std::string from;
  CopyOptions copy;
};

int run_copy(const CopyCommandOptions& options, const Context& context) {
  if (options.to.empty() == options.from.empty()) {
    throw Error(ErrorCode::kInvalid, "copy takes one of --to and --from",
                "--repo or VMPACK_REPO names the other repository");
  }
  const auto here = open_repository(options);
  const auto there = Repository::open(open_store(options.to.empty() ? options.from : options.to));
  const auto source = options.to.empty() ? there : here;
  const auto target = options.to.empty() ? here : there;
  const std::vector<CopyItem> items = chosen_items(*source, options.chosen);
  const auto progress = make_progress(context, options);
  const CopyReport report = copy_snapshots(source, *target, items, options.copy, *progress);
  const bool dry_run = options.copy.dry_run;
  print_report(items, report, dry_run ? "would move" : "moved", {{"dry_run", dry_run}}, options, context);
  return kDone;
}

}  // namespace

void add_copy(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("copy", "Copy snapshots to or from another repository: only what is lacking there");
  const auto options = std::make_shared<CopyCommandOptions>();
  command->add_option("REF", options->chosen.references, "References; 'NAME:*' is all of a name");
  add_choosing_options(*command, options->chosen);
  command->add_option("--to", options->to, "Repository to copy to")->type_name("REPO");
  command->add_option("--from", options->from, "Repository to copy from")->type_name("REPO");
  command->add_flag("--force", options->copy.force, "Move references that point elsewhere");
  command->add_flag("-n,--dry-run", options->copy.dry_run, "Only say what would move");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_copy(*options, context); }; });
}

}  // namespace vmpack::cli
