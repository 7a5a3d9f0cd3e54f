// SPDX-License-Identifier: Apache-2.0
// vmpack verify: checks that what a repository holds is what it says.
#include "libvmpack/repo/verify.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/repo/impact.hpp"
#include "tools/cli.hpp"
#include "tools/guest_files.hpp"

namespace vmpack::cli {
namespace {

struct VerifyCommandOptions : CommonOptions {
  std::string reference;
  bool quick = false;
  bool impact = false;
};

constexpr std::size_t kFilesShown = 20;

OrderedJson to_json(const Repository& repository, const AffectedSnapshot& affected) {
  OrderedJson json = {{"snapshot", affected.snapshot.hex()}, {"references", OrderedJson::array()}};
  for (const ReferenceName& name : affected.references) json["references"].push_back(name.text());
  if (!affected.unusable.empty()) {
    json["unusable"] = affected.unusable;
    return json;
  }
  const std::vector<VolumeSummary> volumes = repository.manifest(affected.snapshot).volumes;
  json["bytes"] = affected.bytes;
  json["outside_files"] = affected.outside_files;
  json["files_known"] = affected.files_known;
  json["files"] = OrderedJson::array();
  for (const AffectedFile& file : affected.files) {
    json["files"].push_back({{"volume", file.volume < volumes.size() ? volume_id(volumes[file.volume]) : ""},
                             {"path", file.path},
                             {"bytes", file.bytes}});
  }
  return json;
}

OrderedJson to_json(const Repository& repository, const Impact& impact) {
  OrderedJson json = {{"frames", OrderedJson::array()}, {"snapshots", OrderedJson::array()}};
  for (const AffectingFrame& frame : impact.frames) {
    OrderedJson snapshots = OrderedJson::array();
    for (const std::size_t number : frame.snapshots) {
      snapshots.push_back(impact.snapshots[number].snapshot.hex());
    }
    json["frames"].push_back({{"frame", frame.frame.hex()},
                              {"file", frame.where},
                              {"what", frame.what},
                              {"snapshots", std::move(snapshots)}});
  }
  for (const AffectedSnapshot& affected : impact.snapshots) {
    json["snapshots"].push_back(to_json(repository, affected));
  }
  return json;
}

std::string names_of(const AffectedSnapshot& affected) {
  std::string names;
  for (const ReferenceName& name : affected.references) names += name.text() + ", ";
  return names + "snapshot " + short_digest(affected.snapshot);
}

void print(const AffectedSnapshot& affected, std::ostream& out) {
  if (!affected.unusable.empty()) {
    out << fmt::format("{}: nothing of it can be read: {}\n", names_of(affected),
                       printable(affected.unusable));
    return;
  }
  out << fmt::format("{}: {} cannot be read\n", names_of(affected), format_bytes(affected.bytes));
  for (std::size_t i = 0; i < std::min(kFilesShown, affected.files.size()); ++i) {
    const AffectedFile& file = affected.files[i];
    out << fmt::format("  {}  {}\n", printable(file.path), format_bytes(file.bytes));
  }
  if (affected.files.size() > kFilesShown) {
    out << fmt::format("  and {} more files; --json tells all\n",
                       format_count(affected.files.size() - kFilesShown));
  }
  if (affected.outside_files > 0) {
    out << fmt::format("  {} outside of files\n", format_bytes(affected.outside_files));
  }
  if (!affected.files_known) out << "  which files it has is not known, or not all of it\n";
}

void print(const Impact& impact, std::ostream& out) {
  for (const AffectingFrame& frame : impact.frames) {
    out << fmt::format("frame {} in {} is needed by {} snapshots\n", short_digest(frame.frame), frame.where,
                       frame.snapshots.size());
  }
  for (const AffectedSnapshot& affected : impact.snapshots) print(affected, out);
  if (impact.snapshots.empty()) out << "no snapshot is affected\n";
}

int run_verify(const VerifyCommandOptions& options, const Context& context) {
  if (options.repository.empty()) static_cast<void>(open_repository(options));  // says what is missing
  const auto progress = make_progress(context, options);
  const std::shared_ptr<Store> store = open_store(options.repository);
  const VerifyReport report = verify(store, {options.reference, options.quick, default_threads()}, *progress);
  std::optional<Impact> impact;
  if (options.impact) impact = find_impact(*Repository::open(store), report, *progress);
  if (options.json) {
    OrderedJson damage = OrderedJson::array();
    for (const VerifyFinding& finding : report.damage) {
      damage.push_back({{"file", finding.file}, {"what", finding.what}});
    }
    OrderedJson json = {{"references", report.references}, {"snapshots", report.snapshots},
                        {"packs", report.packs},           {"frames", report.frames},
                        {"objects", report.objects},       {"bytes_read", report.bytes_read},
                        {"quick", options.quick},          {"unreferenced_packs", report.unreferenced_packs},
                        {"damage", std::move(damage)}};
    if (impact) json["impact"] = to_json(*Repository::open(store), *impact);
    context.out << dump_json(json) << '\n';
  } else {
    for (const VerifyFinding& finding : report.damage) {
      context.out << fmt::format("damaged: {}: {}\n", printable(finding.file), printable(finding.what));
    }
    if (impact && !report.damage.empty()) print(*impact, context.out);
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
  command->add_flag("--impact", options->impact,
                    "Say which snapshots and which of their files damage affects");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_verify(*options, context); };
  });
}

}  // namespace vmpack::cli
