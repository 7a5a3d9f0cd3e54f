// SPDX-License-Identifier: Apache-2.0
// vmpack explain: why two builds share what they share.
#include "libvmpack/repo/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/inspect/package_diff.hpp"
#include "tools/cli.hpp"
#include "tools/notes.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

constexpr std::size_t kTopDefault = 20;
constexpr std::size_t kPackagesShown = 10;
constexpr std::size_t kPathColumns = 50;

struct ExplainOptions : CommonOptions {
  std::string before;
  std::string after;
  std::size_t top = kTopDefault;
};

/// Packages of both builds; none unless both builds' are known.
std::vector<PackageVersions> compare_packages(const Repository& repository, const SnapshotDigest& before,
                                              const SnapshotDigest& after) {
  const auto old_facts = os_facts_of(repository, before);
  const auto new_facts = os_facts_of(repository, after);
  if (!old_facts || !new_facts) return {};
  std::vector<PackageVersions> packages;
  for (const SystemPair& system : pair_packages(*old_facts, *new_facts)) {
    if (system.before == nullptr || system.after == nullptr) continue;
    for (const PackagePair& pair : system.packages) {
      packages.push_back({pair.name, pair.before ? pair.before->version : std::string{},
                          pair.after ? pair.after->version : std::string{}});
    }
  }
  return packages;
}

/// Causes that cost something, the most costly first.
std::vector<Cause> costly_causes(const Explanation& found) {
  std::vector<Cause> causes;
  for (std::size_t i = 0; i < kCauseCount; ++i) {
    if (found.causes[i].cost.bytes > 0) causes.push_back(static_cast<Cause>(i));
  }
  std::ranges::stable_sort(causes, std::ranges::greater{}, [&](Cause cause) {
    return found.causes[static_cast<std::size_t>(cause)].cost.bytes;
  });
  return causes;
}

void add_cost(OrderedJson& json, const Cost& cost) {
  json["bytes"] = cost.bytes;
  json["stored_bytes"] = cost.stored_bytes;
}

OrderedJson causes_json(const Explanation& found) {
  OrderedJson causes = OrderedJson::object();
  for (const Cause cause : costly_causes(found)) {
    const CauseCost& cost = found.causes[static_cast<std::size_t>(cause)];
    OrderedJson& json = causes[std::string(to_string(cause))];
    json["files"] = cost.files;
    add_cost(json, cost.cost);
  }
  return causes;
}

OrderedJson packages_json(const Explanation& found) {
  OrderedJson packages = OrderedJson::array();
  for (const PackageCost& package : found.packages) {
    OrderedJson json = {{"name", package.group.versions.name},
                        {"before", package.group.versions.before},
                        {"after", package.group.versions.after},
                        {"built_with", package.group.built_with},
                        {"files", package.files}};
    add_cost(json, package.cost);
    packages.push_back(std::move(json));
  }
  return packages;
}

OrderedJson paths_json(const Explanation& found) {
  OrderedJson paths = OrderedJson::array();
  for (const PathCost& path : found.paths) {
    OrderedJson json = {{"volume", path.volume},
                        {"path", path.path},
                        {"cause", to_string(path.cause)},
                        {"package", path.package}};
    add_cost(json, path.cost);
    paths.push_back(std::move(json));
  }
  return paths;
}

void print_json(const Explanation& found, const SnapshotDigest& before, const SnapshotDigest& after,
                std::ostream& out) {
  const SharedBytes& shared = found.shared;
  const FileCounts& files = found.files;
  OrderedJson json = {{"before", before.hex()},
                      {"after", after.hex()},
                      {"data_bytes", shared.total() + found.fresh.bytes},
                      {"shared",
                       {{"bytes", shared.total()},
                        {"same_files", shared.same_files},
                        {"moved_files", shared.moved_files},
                        {"other_files", shared.other_files},
                        {"outside_files", shared.outside_files}}}};
  add_cost(json["new"], found.fresh);
  json["causes"] = causes_json(found);
  json["files"] = {{"same", files.same},   {"retimed", files.retimed}, {"changed", files.changed},
                   {"added", files.added}, {"moved", files.moved},     {"removed", files.removed}};
  json["new_uuids"] = found.new_uuids;
  json["packages"] = packages_json(found);
  json["paths"] = paths_json(found);
  out << dump_json(json) << '\n';
}

std::string share(std::uint64_t part, std::uint64_t whole) {
  return fmt::format("{:.1f} %",
                     whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

void print_shared(const SharedBytes& shared, std::ostream& out) {
  const std::vector<std::pair<std::string_view, std::uint64_t>> kinds = {
      {"files that are the same", shared.same_files},
      {"files that moved to another path", shared.moved_files},
      {"pieces of files that changed or were added", shared.other_files},
      {"outside of files", shared.outside_files}};
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, bytes] : kinds) {
    if (bytes > 0) rows.push_back({fmt::format("  {}", name), format_bytes(bytes)});
  }
  print_table(out, rows, {false, true});
}

void print_causes(const Explanation& found, std::ostream& out) {
  if (found.fresh.bytes == 0) return;
  out << fmt::format("not shared are {}, stored in {}:\n", format_bytes(found.fresh.bytes),
                     format_bytes(found.fresh.stored_bytes));
  std::vector<std::vector<std::string>> rows = {{"  cause", "files", "bytes", "stored"}};
  for (const Cause cause : costly_causes(found)) {
    const CauseCost& cost = found.causes[static_cast<std::size_t>(cause)];
    rows.push_back({fmt::format("  {}", describe(cause)), cost.files == 0 ? "-" : format_count(cost.files),
                    format_bytes(cost.cost.bytes), format_bytes(cost.cost.stored_bytes)});
  }
  print_table(out, rows, {false, true, true, true});
}

/// Why metadata differ: what they say of files and volumes.
void print_files(const Explanation& found, std::ostream& out) {
  const FileCounts& files = found.files;
  out << fmt::format("files: {} the same ({} of them with another time), {} changed,\n",
                     format_count(files.same), format_count(files.retimed), format_count(files.changed));
  out << fmt::format("       {} added ({} of them moved or copied), {} removed\n", format_count(files.added),
                     format_count(files.moved), format_count(files.removed));
  if (!found.new_uuids.empty()) {
    out << fmt::format("volumes with a new UUID: {}\n", fmt::join(found.new_uuids, ", "));
  }
}

std::string package_text(const PackageGroup& group) {
  std::string text = group.versions.name;
  if (!group.built_with.empty()) text += fmt::format(" and {} built with it", group.built_with.size());
  if (!group.versions.before.empty()) text += " " + group.versions.before + " ->";
  if (!group.versions.after.empty()) text += " " + group.versions.after;
  return printable(text);
}

void print_packages(const Explanation& found, std::ostream& out) {
  if (found.packages.empty()) return;
  std::size_t count = 0;
  std::vector<std::vector<std::string>> rows;
  for (const PackageCost& package : found.packages) {
    count += 1 + package.group.built_with.size();
    if (rows.size() == kPackagesShown || package.cost.bytes == 0) continue;
    rows.push_back({"  " + format_bytes(package.cost.bytes), format_bytes(package.cost.stored_bytes),
                    package_text(package.group)});
  }
  out << fmt::format("packages that changed or were added: {}\n", format_count(count));
  if (!rows.empty()) print_table(out, rows, {true, true, false});
}

/// The end of a long path tells more than its beginning.
std::string shortened(const std::string& path) {
  const std::string text = printable(path);
  if (text.size() <= kPathColumns) return text;
  std::size_t start = text.size() - (kPathColumns - 3);
  while ((static_cast<unsigned char>(text[start]) & 0xc0U) == 0x80) ++start;
  return "..." + text.substr(start);
}

void print_paths(const Explanation& found, std::ostream& out) {
  if (found.paths.empty()) return;
  out << "paths that cost most:\n";
  std::vector<std::vector<std::string>> rows;
  for (const PathCost& path : found.paths) {
    rows.push_back({"  " + format_bytes(path.cost.bytes), format_bytes(path.cost.stored_bytes),
                    std::string(to_string(path.cause)), shortened(path.path)});
  }
  print_table(out, rows, {true, true, false, false});
}

void print_text(const Explanation& found, const ExplainOptions& options, std::ostream& out) {
  const std::uint64_t shared = found.shared.total();
  const std::uint64_t data = shared + found.fresh.bytes;
  out << fmt::format("{} shares {} of its {} ({}) with {}:\n", options.after, format_bytes(shared),
                     format_bytes(data), share(shared, data), options.before);
  print_shared(found.shared, out);
  print_causes(found, out);
  print_files(found, out);
  print_packages(found, out);
  print_paths(found, out);
}

int run_explain(const ExplainOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const auto progress = make_progress(context, options);
  const SnapshotDigest before = repository->resolve(options.before);
  const SnapshotDigest after = repository->resolve(options.after);
  const Explanation found = explain(*repository, before, after, compare_packages(*repository, before, after),
                                    options.top, *progress);
  if (options.json) {
    print_json(found, before, after, context.out);
  } else {
    print_text(found, options, context.out);
  }
  return kDone;
}

}  // namespace

void add_explain(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("explain", "Show why a build shares what it shares with another");
  const auto options = std::make_shared<ExplainOptions>();
  command->add_option("A", options->before, "The earlier build: NAME, NAME:TAG or NAME@DIGEST")->required();
  command->add_option("B", options->after, "The later build, whose bytes are explained")->required();
  command->add_option("--top", options->top, "Tell as many of the paths that cost most")
      ->type_name("N")
      ->capture_default_str();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_explain(*options, context); };
  });
}

}  // namespace vmpack::cli
