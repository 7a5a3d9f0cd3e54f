// SPDX-License-Identifier: Apache-2.0
// vmpack hold: keeps a snapshot whatever happens to its references, for a guest that runs on it.
#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parse_duration.hpp"
#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "tools/cli.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

struct HoldOptions : CommonOptions {
  std::string reference;
  std::string duration;
  std::string note;
  std::string release;
  bool list = false;
};

std::vector<LeaseFacts> holds(Store& store) {
  std::vector<LeaseFacts> leases = list_leases(store);
  const std::int64_t now = store.now();
  std::erase_if(
      leases, [&](const LeaseFacts& lease) { return lease.kind != LeaseKind::kHold || lease.is_over(now); });
  return leases;
}

int list_holds(const Repository& repository, const HoldOptions& options, const Context& context) {
  OrderedJson json = OrderedJson::array();
  std::vector<std::vector<std::string>> rows{{"HOLD", "SNAPSHOT", "UNTIL", "NOTE"}};
  for (const LeaseFacts& hold : holds(repository.store())) {
    json.push_back(
        {{"id", hold.id}, {"snapshot", hold.snapshot->hex()}, {"note", hold.holder}, {"begin", hold.begin}});
    if (hold.end) json.back()["end"] = *hold.end;
    rows.push_back({hold.id, short_digest(*hold.snapshot), hold.end ? format_time(*hold.end) : "released",
                    printable(hold.holder)});
  }
  if (options.json) {
    context.out << dump_json(json) << '\n';
  } else {
    print_table(context.out, rows, {false, false, false, false});
  }
  return kDone;
}

int hold(const Repository& repository, const HoldOptions& options, const Context& context) {
  const WriterSession session(repository);
  const SnapshotDigest snapshot = repository.resolve(options.reference);
  std::optional<std::int64_t> seconds;
  if (!options.duration.empty()) seconds = parse_duration(options.duration);
  const std::string id = hold_snapshot(repository.store(), snapshot, options.note, seconds);
  try {
    session.confirm(keys_under(repository, snapshot));
  } catch (const Error&) {
    release_hold(repository.store(), id);
    throw;
  }
  if (options.json) {
    context.out << dump_json({{"id", id}, {"snapshot", snapshot.hex()}}) << '\n';
  } else if (!options.quiet) {
    context.out << fmt::format("{} keeps {}; 'vmpack hold --release {}' ends it\n", id,
                               short_digest(snapshot), id);
  }
  return kDone;
}

int run_hold(const HoldOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  if (options.list) return list_holds(*repository, options, context);
  if (options.release.empty()) return hold(*repository, options, context);
  release_hold(repository->store(), options.release);
  if (!options.quiet && !options.json)
    context.out << fmt::format("{} is released\n", printable(options.release));
  return kDone;
}

}  // namespace

void add_hold(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("hold", "Keep a snapshot for a running guest, whatever its tags do");
  const auto options = std::make_shared<HoldOptions>();
  auto* what = command->add_option_group("what", "")->require_option(1);
  auto* reference = what->add_option("REF", options->reference, "Snapshot to keep");
  what->add_flag("--list", options->list, "Show what is held");
  what->add_option("--release", options->release, "End a hold")->type_name("ID");
  command->add_option("--for", options->duration, "How long (30m, 24h, 7d); without it, until it is released")
      ->type_name("DURATION")
      ->needs(reference);
  command->add_option("--note", options->note, "Who needs it, for people")->needs(reference);
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_hold(*options, context); }; });
}

}  // namespace vmpack::cli
