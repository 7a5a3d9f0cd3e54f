// SPDX-License-Identifier: Apache-2.0
// vmpack gc: collects what no reference needs any more.
#include "libvmpack/repo/gc.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/parse_duration.hpp"
#include "libvmpack/store/http_get.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct CollectOptions : CommonOptions {
  std::string grace = "24h";
  std::vector<std::string> servers;
  bool dry_run = false;
};

OrderedJson to_json(const GcReport& report) {
  OrderedJson json = {
      {"snapshots", report.snapshots},
      {"stored_bytes", report.stored_bytes},
      {"used_bytes", report.used_bytes},
      {"unused_bytes", report.unused_bytes},
      {"marked", {{"files", report.marked_files}, {"bytes", report.marked_bytes}}},
      {"moved",
       {{"frames", report.moved_frames},
        {"bytes", report.moved_bytes},
        {"packs_left", report.packs_moved},
        {"packs_written", report.packs_written}}},
      {"deleted", {{"files", report.deleted_files}, {"bytes", report.deleted_bytes}}},
      {"waiting",
       {{"files", report.waiting_files}, {"bytes", report.waiting_bytes}, {"writers", report.waiting_for}}}};
  if (report.waiting_until) json["waiting"]["until"] = *report.waiting_until;
  return json;
}

void print_report(const GcReport& report, bool dry_run, std::ostream& out) {
  out << fmt::format("{} snapshots have names; of {} in packs they need {}\n", report.snapshots,
                     format_bytes(report.stored_bytes), format_bytes(report.used_bytes));
  if (dry_run) {
    out << fmt::format("Would mark {} files with {}; {} of frames and small files are unused\n",
                       report.marked_files, format_bytes(report.marked_bytes),
                       format_bytes(report.unused_bytes));
    return;
  }
  if (report.moved_frames > 0) {
    out << fmt::format("Moved {} frames with {} out of {} packs into {} new ones\n", report.moved_frames,
                       format_bytes(report.moved_bytes), report.packs_moved, report.packs_written);
  }
  if (report.marked_files > 0) {
    out << fmt::format("Marked {} files with {}\n", report.marked_files, format_bytes(report.marked_bytes));
  }
  out << fmt::format("Deleted {} files with {}\n", report.deleted_files, format_bytes(report.deleted_bytes));
  if (report.waiting_files > 0) {
    out << fmt::format("{} files with {} wait until {}\n", report.waiting_files,
                       format_bytes(report.waiting_bytes),
                       report.waiting_until ? format_time(*report.waiting_until) : "they may go");
    for (const std::string& writer : report.waiting_for)
      out << fmt::format("  and until {} is done, if it began before the mark\n", printable(writer));
  }
}

/// What the clients of a vmserve have open.
std::vector<SnapshotDigest> in_use_at(const std::string& server) {
  const std::string url =
      fmt::format("{}/in-use", server.ends_with('/') ? server.substr(0, server.size() - 1) : server);
  const Bytes bytes = http_get(url, limits::kJsonBytesMax);
  return read_json(as_text(bytes), url, [&](const OrderedJson& json) {
    std::vector<SnapshotDigest> snapshots;
    for (const OrderedJson& digest : json.at("snapshots"))
      snapshots.emplace_back(digest_from_json(digest, url));
    return snapshots;
  });
}

std::vector<SnapshotDigest> in_use(const std::vector<std::string>& servers) {
  std::vector<SnapshotDigest> snapshots;
  for (const std::string& server : servers) {
    try {
      std::ranges::move(in_use_at(server), std::back_inserter(snapshots));
    } catch (const Error& error) {
      throw Error(error.code(), error.what(),
                  "is vmserve running there with --http? Until all answer, nothing is collected");
    }
  }
  return snapshots;
}

int run_gc(const CollectOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const auto progress = make_progress(context, options);
  GcOptions gc;
  gc.grace_seconds = parse_duration(options.grace);
  gc.dry_run = options.dry_run;
  gc.in_use = [&] { return in_use(options.servers); };
  const GcReport report = collect_garbage(repository, gc, *progress);
  if (options.json) {
    context.out << dump_json(to_json(report)) << '\n';
  } else if (!options.quiet) {
    print_report(report, options.dry_run, context.out);
  }
  return kDone;
}

}  // namespace

void add_gc(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand(
      "gc", "Delete what nothing names any more: mark it, and delete it a grace period later");
  const auto options = std::make_shared<CollectOptions>();
  command
      ->add_option("--grace", options->grace,
                   "How long what is marked stays, for servers that still read it (90s, 30m, 24h, 7d)")
      ->type_name("DURATION")
      ->capture_default_str();
  command
      ->add_option("--ask", options->servers,
                   "A vmserve with --http: what its clients have open stays; may be repeated")
      ->type_name("URL");
  command->add_flag("--dry-run", options->dry_run, "Only tell what there is to collect");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_gc(*options, context); }; });
}

}  // namespace vmpack::cli
