// SPDX-License-Identifier: Apache-2.0
// vmpack log: the history of a name.
#include <fmt/format.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/repo/history.hpp"
#include "tools/cli.hpp"
#include "tools/graph.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

struct LogOptions : CommonOptions {
  std::string name;
};

/// What the user named: all of a name, or one snapshot and what it stands on.
struct Subject {
  std::string name;
  std::optional<SnapshotDigest> from;
};

Subject read_subject(const Repository& repository, const std::string& text) {
  const std::size_t end = text.find_first_of(":@");
  if (end == std::string::npos) return {parse_reference_name(text).name, std::nullopt};
  const SnapshotDigest from = repository.resolve(text);
  return {text.substr(0, end), from};
}

OrderedJson entry_json(const HistoryEntry& entry) {
  OrderedJson references = OrderedJson::array();
  for (const ReferenceName& reference : entry.references) references.push_back(reference.text());
  return {{"snapshot", entry.snapshot.hex()},
          {"parent", entry.parent ? OrderedJson(entry.parent->hex()) : OrderedJson()},
          {"named", entry.named},
          {"references", std::move(references)},
          {"time", entry.seconds},
          {"image_bytes", entry.image_bytes},
          {"data_bytes", entry.data_bytes},
          {"added_bytes", entry.added_bytes},
          {"labels", entry.labels}};
}

void print_json(const Subject& subject, const std::vector<HistoryEntry>& entries, std::ostream& out) {
  OrderedJson snapshots = OrderedJson::array();
  for (const HistoryEntry& entry : entries) snapshots.push_back(entry_json(entry));
  out << dump_json({{"name", subject.name}, {"snapshots", std::move(snapshots)}}) << '\n';
}

/// Tags of the name alone, other references in full.
std::string tags_text(const HistoryEntry& entry, const std::string& name) {
  std::vector<std::string> tags;
  tags.reserve(entry.references.size());
  for (const ReferenceName& reference : entry.references) {
    tags.push_back(reference.name == name ? reference.tag : reference.text());
  }
  return tags.empty() ? "-" : fmt::format("{}", fmt::join(tags, ", "));
}

std::string labels_text(const HistoryEntry& entry) {
  std::vector<std::string> labels;
  labels.reserve(entry.labels.size() + 1);
  for (const auto& [key, value] : entry.labels) labels.push_back(printable(fmt::format("{}={}", key, value)));
  if (entry.parent && !entry.parent_entry) {
    labels.push_back(fmt::format("(its parent {} is gone)", short_digest(*entry.parent)));
  }
  return fmt::format("{}", fmt::join(labels, " "));
}

void print_text(const Subject& subject, const std::vector<HistoryEntry>& entries, std::int64_t now,
                const Context& context) {
  std::vector<std::optional<std::size_t>> parents;
  parents.reserve(entries.size());
  for (const HistoryEntry& entry : entries) parents.push_back(entry.parent_entry);
  std::vector<std::vector<std::string>> rows = {{"  SNAPSHOT", "TAGS", "ADDED", "DATA", "AGE", "LABELS"}};
  for (const GraphLine& line : draw_graph(parents, context.out_is_utf8)) {
    if (!line.entry) {
      rows.push_back({line.glyphs});
      continue;
    }
    const HistoryEntry& entry = entries[*line.entry];
    rows.push_back({fmt::format("{} {}", line.glyphs, short_digest(entry.snapshot)),
                    tags_text(entry, subject.name), format_bytes(entry.added_bytes),
                    format_bytes(entry.data_bytes), format_age(now - entry.seconds), labels_text(entry)});
  }
  print_table(context.out, rows, {false, false, true, true, true, false});
}

int run_log(const LogOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const Subject subject = read_subject(*repository, options.name);
  std::vector<std::string> damaged;
  const std::vector<HistoryEntry> entries = history(*repository, subject.name, subject.from, damaged);
  if (entries.empty() && damaged.empty()) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("nothing was ever committed as {} in {}", subject.name, repository->store().location()),
        "'vmpack list' shows what there is");
  }
  if (options.json) {
    print_json(subject, entries, context.out);
  } else if (!options.quiet) {
    print_text(subject, entries, repository->store().now(), context);
  }
  for (const std::string& what : damaged) context.err << "vmpack: " << printable(what) << '\n';
  return damaged.empty() ? kDone : kFound;
}

}  // namespace

void add_log(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("log", "Show the history of a name: every snapshot, and what it added");
  const auto options = std::make_shared<LogOptions>();
  command
      ->add_option("NAME", options->name,
                   "A name; or NAME:TAG, NAME@DIGEST: that snapshot and those it was made from")
      ->required();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_log(*options, context); }; });
}

}  // namespace vmpack::cli
