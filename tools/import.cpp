// SPDX-License-Identifier: Apache-2.0
// vmpack import: what was exported elsewhere comes into the repository.
#include "libvmpack/repo/export.hpp"
#include "tools/chosen_references.hpp"
#include "tools/cli.hpp"
#include "tools/moving.hpp"

namespace vmpack::cli {
namespace {

struct ImportOptions : CommonOptions {
  std::string file;
  CopyOptions copy;
};

int run_import(const ImportOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const auto exported = std::make_shared<ExportStore>(options.file);
  const auto progress = make_progress(context, options);
  const CopyReport report = import_snapshots(exported, *repository, options.copy, *progress);
  const bool dry_run = options.copy.dry_run;
  print_report(export_contents(*exported).items, report, dry_run ? "would import" : "imported",
               {{"dry_run", dry_run}}, options, context);
  return kDone;
}

}  // namespace

void add_import(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("import", "Bring in what 'vmpack export' wrote elsewhere");
  const auto options = std::make_shared<ImportOptions>();
  command->add_option("FILE", options->file, "File that was exported")->required();
  command->add_flag("--force", options->copy.force, "Move references that point elsewhere");
  command->add_flag("-n,--dry-run", options->copy.dry_run, "Only say what would be imported");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_import(*options, context); };
  });
}

}  // namespace vmpack::cli
