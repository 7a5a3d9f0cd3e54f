// SPDX-License-Identifier: Apache-2.0
#include "tools/chosen_references.hpp"

#include <fmt/core.h>
#include <fnmatch.h>

#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack::cli {
namespace {

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

void add_matching(const Repository& repository, const std::string& pattern, std::vector<CopyItem>& items) {
  const std::size_t before = items.size();
  for (const ReferenceEntry& entry : repository.references()) {
    if (::fnmatch(pattern.c_str(), entry.name.text().c_str(), 0) == 0)
      items.push_back({entry.snapshot, entry.name});
  }
  if (items.size() > before) return;
  throw Error(ErrorCode::kNotFound,
              fmt::format("nothing in {} matches {}", repository.store().location(), printable(pattern)),
              "'vmpack list' shows what there is; a pattern is for NAME:TAG, as in 'web:*'");
}

CopyItem item_of(const Repository& repository, const std::string& text, const std::string& as) {
  const SnapshotDigest snapshot = repository.resolve(text);
  if (!as.empty()) return {snapshot, parse_reference_name(as)};
  if (text.find('@') == std::string::npos) return {snapshot, parse_reference_name(text)};
  throw Error(ErrorCode::kInvalid, fmt::format("'{}' is a snapshot's digest, not a tag", text),
              "say what it shall be called there: --as NAME:TAG");
}

}  // namespace

void add_choosing_options(CLI::App& command, ChosenReferences& chosen) {
  command.add_flag("--all", chosen.all, "All references");
  command.add_option("--as", chosen.as, "What the one REF is called there")->type_name("NEW-REF");
}

std::vector<CopyItem> chosen_items(const Repository& repository, const ChosenReferences& chosen) {
  if (chosen.all != chosen.references.empty()) {
    throw Error(ErrorCode::kInvalid, chosen.all ? "--all takes no REF" : "no reference is named",
                "name some, or say --all");
  }
  std::vector<CopyItem> items;
  if (chosen.all) add_matching(repository, "*", items);
  for (const std::string& text : chosen.references) {
    if (is_pattern(text)) {
      add_matching(repository, text, items);
    } else {
      items.push_back(item_of(repository, text, chosen.as));
    }
  }
  const bool renames_one =
      items.size() == 1 &&
      items.front().name == parse_reference_name(chosen.as.empty() ? items.front().name.text() : chosen.as);
  if (!chosen.as.empty() && !renames_one) {
    throw Error(ErrorCode::kInvalid, "--as is for one REF that is no pattern");
  }
  return items;
}

void print_report(const std::vector<CopyItem>& items, const CopyReport& report, std::string_view verb,
                  const OrderedJson& more, const CommonOptions& options, const Context& context) {
  if (options.json) {
    OrderedJson json = {{"references", OrderedJson::array()},
                        {"snapshots", report.snapshots},
                        {"frames", report.frames},
                        {"bytes", report.bytes},
                        {"frames_moved", report.frames_moved},
                        {"bytes_moved", report.bytes_moved},
                        {"packs_new", report.packs_new}};
    for (const CopyItem& item : items) {
      json["references"].push_back({{"reference", item.name.text()}, {"snapshot", item.snapshot.hex()}});
    }
    json.update(more);
    context.out << dump_json(json) << '\n';
  } else if (!options.quiet) {
    for (const CopyItem& item : items) {
      context.out << fmt::format("{} is {}@{}\n", item.name.text(), item.name.name,
                                 short_digest(item.snapshot));
    }
    context.out << fmt::format("  {} {} of {} ({} of {} frames)\n", verb, format_bytes(report.bytes_moved),
                               format_bytes(report.bytes), format_count(report.frames_moved),
                               format_count(report.frames));
  }
}

}  // namespace vmpack::cli
