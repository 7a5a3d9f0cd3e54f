// SPDX-License-Identifier: Apache-2.0
// vmpack import: what was exported elsewhere comes into the repository.
#include <unistd.h>

#include <cerrno>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/temp_folder.hpp"
#include "libvmpack/base/units.hpp"
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

constexpr std::string_view kStandardInput = "-";
constexpr std::string_view kInputName = "the standard input";

/// All of the standard input, in a file without a name: an export counts only as a whole.
FileDescriptor spooled_input() {
  FileDescriptor file = nameless_file();
  Bytes buffer(kMiB);
  std::uint64_t at = 0;
  while (true) {
    const ssize_t bytes = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) throw system_error(errno, "cannot read", kInputName);
    if (bytes == 0) return file;
    write_at(file.get(), ByteView(buffer).first(static_cast<std::size_t>(bytes)), at, temp_folder());
    at += static_cast<std::uint64_t>(bytes);
  }
}

std::shared_ptr<ExportStore> open_export(const std::string& file) {
  if (file != kStandardInput) return std::make_shared<ExportStore>(file);
  return std::make_shared<ExportStore>(spooled_input(), std::string(kInputName));
}

int run_import(const ImportOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const auto exported = open_export(options.file);
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
  command->add_option("FILE", options->file, "File that was exported; '-': the standard input")->required();
  command->add_flag("--force", options->copy.force, "Move references that point elsewhere");
  command->add_flag("-n,--dry-run", options->copy.dry_run, "Only say what would be imported");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_import(*options, context); };
  });
}

}  // namespace vmpack::cli
