// SPDX-License-Identifier: Apache-2.0
// vmpack list: the references of a repository.
#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "tools/cli.hpp"
#include "tools/notes.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

/// What the ingest of a reference added to the repository, as its note tells; nullopt without such a note.
std::optional<std::uint64_t> added_bytes(const Repository& repository, const ReferenceEntry& entry) {
  const std::string kind = ingest_note(entry.name);
  const auto note = repository.note(entry.snapshot, kind);
  if (!note) return std::nullopt;
  return read_json(*note, kind,
                   [](const OrderedJson& json) { return json.at("stored_bytes").get<std::uint64_t>(); });
}

int run_list(const CommonOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  std::vector<std::string> damaged;
  OrderedJson references = OrderedJson::array();
  std::vector<std::vector<std::string>> rows = {
      {"REFERENCE", "SNAPSHOT", "IMAGE", "DATA", "ADDED", "CREATED"}};
  for (const ReferenceEntry& entry : repository->references(&damaged)) {
    try {
      const Manifest manifest = repository->manifest(entry.snapshot);
      const auto added = added_bytes(*repository, entry);
      references.push_back({{"reference", entry.name.text()},
                            {"snapshot", entry.snapshot.hex()},
                            {"image_bytes", manifest.image_bytes},
                            {"data_bytes", manifest.data_bytes},
                            {"stored_bytes", added ? OrderedJson(*added) : OrderedJson()},
                            {"sequence", entry.sequence},
                            {"time", entry.modified_seconds}});
      rows.push_back({entry.name.text(), short_digest(entry.snapshot), format_bytes(manifest.image_bytes),
                      format_bytes(manifest.data_bytes), added ? format_bytes(*added) : "-",
                      format_time(entry.modified_seconds)});
    } catch (const Error& error) {
      damaged.push_back(fmt::format("{}: {}", entry.name.text(), error.what()));
    }
  }
  if (options.json) {
    context.out << dump_json({{"references", references}}) << '\n';
  } else if (rows.size() > 1) {
    print_table(context.out, rows, {false, false, true, true, true, false});
  } else if (!options.quiet && damaged.empty()) {
    context.out << "no references yet; 'vmpack ingest IMAGE NAME:TAG' makes one\n";
  }
  for (const std::string& what : damaged) context.err << "vmpack: " << printable(what) << '\n';
  return damaged.empty() ? kDone : kFound;
}

}  // namespace

void add_list(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("list", "List the references of the repository");
  const auto options = std::make_shared<CommonOptions>();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_list(*options, context); }; });
}

}  // namespace vmpack::cli
