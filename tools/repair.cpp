// SPDX-License-Identifier: Apache-2.0
// vmpack repair: mends what verify found, as far as that is possible.
#include "libvmpack/repo/repair.hpp"

#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/store/store.hpp"
#include "tools/cli.hpp"
#include "tools/moving.hpp"

namespace vmpack::cli {
namespace {

struct RepairCommandOptions : CommonOptions {
  std::string from;
  bool dry_run = false;
};

void print_json(const RepairReport& report, bool dry_run, std::ostream& out) {
  OrderedJson json = {{"dry_run", dry_run},
                      {"damaged_frames", report.damaged_frames},
                      {"found_frames", report.found_frames},
                      {"fetched_frames", report.fetched_frames},
                      {"bytes_fetched", report.bytes_fetched},
                      {"made_frames", report.made_frames},
                      {"lost_frames", OrderedJson::array()},
                      {"mended_files", report.mended_files},
                      {"removed_files", report.removed_files},
                      {"left", OrderedJson::array()}};
  for (const LostFrame& lost : report.lost) {
    json["lost_frames"].push_back({{"file", lost.file},
                                   {"offset", lost.offset},
                                   {"digest_prefix", fmt::format("{:016x}", lost.prefix)}});
  }
  for (const VerifyFinding& finding : report.left) {
    json["left"].push_back({{"file", finding.file}, {"what", finding.what}});
  }
  out << dump_json(json) << '\n';
}

void print_text(const RepairReport& report, bool dry_run, std::ostream& out) {
  const std::string_view would = dry_run ? "would be " : "";
  for (const std::string& file : report.mended_files) out << fmt::format("{}mended: {}\n", would, file);
  for (const std::string& file : report.removed_files) out << fmt::format("{}removed: {}\n", would, file);
  for (const LostFrame& lost : report.lost) {
    out << fmt::format("lost: the frame {:016x}… in {} at offset {}\n", lost.prefix, lost.file, lost.offset);
  }
  for (const VerifyFinding& finding : report.left) {
    out << fmt::format("left: {}: {}\n", printable(finding.file), printable(finding.what));
  }
  if (report.damaged_frames > 0) {
    out << fmt::format("{} damaged frames: {} found elsewhere here, {} fetched, {} made again, {} lost\n",
                       format_count(report.damaged_frames), format_count(report.found_frames),
                       format_count(report.fetched_frames), format_count(report.made_frames),
                       format_count(report.lost.size()));
  }
  if (!report.lost.empty()) {
    out << "'vmpack verify --impact' says what that affects; 'vmpack repair --from REPO' fetches it, or "
           "ingest "
           "the images again and then repair\n";
  }
  const bool nothing = report.damaged_frames == 0 && report.mended_files.empty() &&
                       report.removed_files.empty() && report.left.empty();
  if (nothing) out << "nothing is damaged\n";
}

int run_repair(const RepairCommandOptions& options, const Context& context) {
  static_cast<void>(open_repository(options));  // says what is missing
  const auto from = options.from.empty() ? nullptr : Repository::open(open_store(options.from));
  const auto progress = make_progress(context, options);
  const std::shared_ptr<Store> store = open_store(options.repository);
  const RepairReport report = repair(store, from, {options.dry_run, default_threads()}, *progress);
  if (options.json) {
    print_json(report, options.dry_run, context.out);
  } else if (!options.quiet) {
    print_text(report, options.dry_run, context.out);
  }
  return report.lost.empty() && report.left.empty() ? kDone : kFound;
}

}  // namespace

void add_repair(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("repair", "Mend what 'vmpack verify' found");
  const auto options = std::make_shared<RepairCommandOptions>();
  command->add_option("--from", options->from, "Another repository, to fetch from what is damaged here")
      ->type_name("REPO");
  command->add_flag("-n,--dry-run", options->dry_run, "Only say what could be mended");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_repair(*options, context); };
  });
}

}  // namespace vmpack::cli
