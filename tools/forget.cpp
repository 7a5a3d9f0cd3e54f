// SPDX-License-Identifier: Apache-2.0
// vmpack forget: takes references away, by name or by rules; gc then deletes what nothing needs.
#include "libvmpack/repo/forget.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/repo/live_frames.hpp"
#include "tools/cli.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

struct ForgetOptions : CommonOptions {
  std::vector<std::string> names;
  KeepRules rules;
  bool all = false;
  bool dry_run = false;
};

/// One by one, where no rules are given.
std::vector<KeepDecision> decide_by_name(const Repository& repository,
                                         const std::vector<std::string>& names) {
  std::vector<KeepDecision> decisions;
  for (const std::string& text : names) {
    if (text.find('@') != std::string::npos) {
      throw Error(ErrorCode::kInvalid,
                  fmt::format("'{}' is a snapshot's digest, not a reference", printable(text)),
                  "write NAME:TAG; a snapshot that no reference names is forgotten already");
    }
    const ReferenceName name = parse_reference_name(text);
    const auto entry = repository.find(name);
    if (!entry) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("there is no {} in {}", name.text(), repository.store().location()),
                  "'vmpack list' shows what there is");
    }
    decisions.push_back({*entry, {}});
  }
  return decisions;
}

std::vector<KeepDecision> decide_by_rules(const Repository& repository, const ForgetOptions& options) {
  std::map<std::string, std::vector<ReferenceEntry>> by_name;
  for (ReferenceEntry& entry : repository.references()) by_name[entry.name.name].push_back(std::move(entry));
  std::vector<KeepDecision> decisions;
  for (const std::string& name : options.names) {
    if (by_name.contains(name)) continue;
    throw Error(ErrorCode::kNotFound,
                fmt::format("nothing in {} is called {}", repository.store().location(), printable(name)),
                "rules work on all tags of a NAME, without a tag; 'vmpack list' shows what there is");
  }
  for (auto& [name, references] : by_name) {
    const bool chosen =
        options.names.empty() || std::ranges::find(options.names, name) != options.names.end();
    if (chosen)
      std::ranges::move(decide(std::move(references), options.rules), std::back_inserter(decisions));
  }
  return decisions;
}

/// What only the forgotten references need.
std::uint64_t freed_bytes(const Repository& repository, const std::vector<KeepDecision>& decisions,
                          Progress& progress) {
  std::vector<SnapshotDigest> kept;
  const std::vector<ReferenceEntry> references = repository.references();
  const auto is_forgotten = [&](const ReferenceName& name) {
    return std::ranges::any_of(decisions, [&](const KeepDecision& decision) {
      return decision.reasons.empty() && decision.reference.name == name;
    });
  };
  for (const SnapshotDigest& snapshot : named_snapshots(repository)) {
    bool stays = true;
    bool named = false;
    for (const ReferenceEntry& entry : references) {
      if (entry.snapshot != snapshot) continue;
      stays = named ? stays || !is_forgotten(entry.name) : !is_forgotten(entry.name);
      named = true;
    }
    if (stays) kept.push_back(snapshot);
  }
  const std::uint64_t before = LiveFrames(repository, named_snapshots(repository), progress).used_bytes();
  return before - std::min(before, LiveFrames(repository, std::move(kept), progress).used_bytes());
}

OrderedJson to_json(const KeepDecision& decision) {
  return {{"reference", decision.reference.name.text()},
          {"snapshot", decision.reference.snapshot.hex()},
          {"time", decision.reference.modified_seconds},
          {"kept_by", decision.reasons}};
}

void print_decisions(const std::vector<KeepDecision>& decisions, std::int64_t now, std::ostream& out) {
  std::vector<std::vector<std::string>> rows{{"", "REFERENCE", "SNAPSHOT", "AGE", "KEPT BY"}};
  for (const KeepDecision& decision : decisions) {
    rows.push_back({decision.reasons.empty() ? "forget" : "keep", decision.reference.name.text(),
                    short_digest(decision.reference.snapshot),
                    format_age(now - decision.reference.modified_seconds),
                    fmt::format("{}", fmt::join(decision.reasons, ", "))});
  }
  print_table(out, rows, {false, false, false, true, false});
}

int run_forget(const ForgetOptions& options, const Context& context) {
  if (options.rules.empty() && options.names.empty()) {
    throw Error(ErrorCode::kInvalid, "nothing says what to forget",
                "name references, or give rules: --keep-last N, --keep-daily N, --keep-tag PATTERN");
  }
  const auto repository = open_repository(options);
  const auto progress = make_progress(context, options);
  const std::vector<KeepDecision> decisions = options.rules.empty()
                                                  ? decide_by_name(*repository, options.names)
                                                  : decide_by_rules(*repository, options);
  const auto forgotten = static_cast<std::uint64_t>(std::ranges::count_if(
      decisions, [](const KeepDecision& decision) { return decision.reasons.empty(); }));
  const std::uint64_t freed = forgotten == 0 ? 0 : freed_bytes(*repository, decisions, *progress);
  if (!options.dry_run) {
    for (const KeepDecision& decision : decisions) {
      if (decision.reasons.empty()) repository->remove_reference(decision.reference.name);
    }
  }
  if (options.json) {
    OrderedJson list = OrderedJson::array();
    for (const KeepDecision& decision : decisions) list.push_back(to_json(decision));
    context.out << dump_json({{"references", std::move(list)},
                              {"forgotten", forgotten},
                              {"freed_bytes", freed},
                              {"dry_run", options.dry_run}})
                << '\n';
  } else if (!options.quiet) {
    print_decisions(decisions, repository->store().now(), context.out);
    context.out << fmt::format("{} {} of {} references; 'vmpack gc' will free {}\n",
                               options.dry_run ? "Would forget" : "Forgot", forgotten, decisions.size(),
                               format_bytes(freed));
  }
  return kDone;
}

}  // namespace

void add_forget(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand(
      "forget", "Take references away, one by one or by rules; 'vmpack gc' then frees what they alone need");
  const auto options = std::make_shared<ForgetOptions>();
  command->add_option("REF", options->names,
                      "References; with rules: names, whose tags the rules are for (default: all)");
  command->add_option("--keep-last", options->rules.last, "Keep the N newest tags of each name")
      ->type_name("N");
  command->add_option("--keep-daily", options->rules.daily, "Keep the newest of each of N days")
      ->type_name("N");
  command->add_option("--keep-weekly", options->rules.weekly, "Keep the newest of each of N weeks")
      ->type_name("N");
  command->add_option("--keep-monthly", options->rules.monthly, "Keep the newest of each of N months")
      ->type_name("N");
  command->add_option("--keep-yearly", options->rules.yearly, "Keep the newest of each of N years")
      ->type_name("N");
  command->add_option("--keep-tag", options->rules.tags, "Keep tags like this, with * and ?; may be repeated")
      ->type_name("PATTERN");
  command->add_flag("--dry-run", options->dry_run, "Only tell what would go, and what gc would free");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_forget(*options, context); };
  });
}

}  // namespace vmpack::cli
