// SPDX-License-Identifier: Apache-2.0
// vmpack verify: checks that what a repository holds is what it says.
#include "libvmpack/repo/verify.hpp"

#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct VerifyCommandOptions : CommonOptions {
  std::string reference;
  bool quick = false;
};

int run_verify(const VerifyCommandOptions& options, const Context& context) {
  if (options.repository.empty()) static_cast<void>(open_repository(options));  // says what is missing
  const auto progress = make_progress(context, options);
  const std::shared_ptr<Store> store = open_store(options.repository);
  const VerifyReport report = verify(store, {options.reference, options.quick, default_threads()}, *progress);
  if (options.json) {
    OrderedJson damage = OrderedJson::array();
    for (const VerifyFinding& finding : report.damage) {
      damage.push_back({{"file", finding.file}, {"what", finding.what}});
    }
    context.out << dump_json({{"references", report.references},
                              {"snapshots", report.snapshots},
                              {"packs", report.packs},
                              {"frames", report.frames},
                              {"objects", report.objects},
                              {"bytes_read", report.bytes_read},
                              {"quick", options.quick},
                              {"unreferenced_packs", report.unreferenced_packs},
                              {"damage", std::move(damage)}})
                << '\n';
  } else {
    for (const VerifyFinding& finding : report.damage) {
      context.out << fmt::format("damaged: {}: {}\n", printable(finding.file), printable(finding.what));
    }
    if (!options.quiet) {
      context.out << fmt::format(
          "{} references, {} snapshots, {} packs, {} frames, {} objects: {}\n",
          format_count(report.references), format_count(report.snapshots), format_count(report.packs),
          format_count(report.frames), format_count(report.objects),
          report.damage.empty() ? (options.quick ? "all there (frames not read)" : "all intact")
                                : fmt::format("{} findings", report.damage.size()));
    }
  }
  return report.damage.empty() ? kDone : kFound;
}

}  // namespace

void add_verify(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("verify", "Check every byte of the repository, or of one snapshot");
  const auto options = std::make_shared<VerifyCommandOptions>();
  command->add_option("REF", options->reference, "Only what this snapshot needs");
  command->add_flag("--quick", options->quick, "Do not read frames");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_verify(*options, context); };
  });
}

}  // namespace vmpack::cli
