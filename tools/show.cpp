// SPDX-License-Identifier: Apache-2.0
// vmpack show: all that is known about one snapshot.
#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "tools/image_options.hpp"
#include "tools/notes.hpp"

namespace vmpack::cli {
namespace {

struct ShowOptions : CommonOptions {
  std::string reference;
};

/// References that point to the snapshot now.
std::vector<std::string> names_of(const Repository& repository, const SnapshotDigest& snapshot) {
  std::vector<std::string> names;
  for (const ReferenceEntry& entry : repository.references()) {
    if (entry.snapshot == snapshot) names.push_back(entry.name.text());
  }
  return names;
}

void print_text(const SnapshotDigest& snapshot, const Manifest& manifest,
                const std::vector<std::string>& names, const std::optional<OsFacts>& os, std::ostream& out) {
  out << fmt::format("snapshot   {}\n", snapshot.hex());
  for (const std::string& name : names) out << fmt::format("reference  {}\n", name);
  out << fmt::format("image      {} ({} bytes), {} of data, from {}\n", format_bytes(manifest.image_bytes),
                     manifest.image_bytes, format_bytes(manifest.data_bytes), manifest.source_format);
  if (manifest.parent) out << fmt::format("parent     {}\n", manifest.parent->hex());
  if (manifest.changed) {
    out << fmt::format("changed    {} of data, and {} that are zeros now\n",
                       format_bytes(manifest.changed->data), format_bytes(manifest.changed->zeroed));
  }
  for (const auto& [key, value] : manifest.labels)
    out << fmt::format("label      {}={}\n", printable(key), printable(value));
  out << fmt::format("volumes    {}\n", manifest.table.empty() ? "no partition table" : manifest.table);
  print_volumes(out, manifest.volumes);
  out << (manifest.changed ? "classes of what changed\n" : "classes\n");
  print_classes(out, manifest.classes);
  if (manifest.discarded) {
    out << fmt::format("discarded  {} of free space, {} of swap: read as zeros\n",
                       format_bytes(manifest.discarded->free), format_bytes(manifest.discarded->swap));
  }
  if (os && !os->systems.empty()) {
    out << "operating systems\n";
    print_systems(out, *os);
  }
}

int run_show(const ShowOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const SnapshotDigest snapshot = repository->resolve(options.reference);
  const Manifest manifest = repository->manifest(snapshot);
  const std::vector<std::string> names = names_of(*repository, snapshot);
  const std::optional<OsFacts> os = os_facts_of(*repository, snapshot);
  if (!options.json) {
    print_text(snapshot, manifest, names, os, context.out);
    return kDone;
  }
  OrderedJson json = {{"snapshot", snapshot.hex()}, {"references", names}};
  json["manifest"] = OrderedJson::parse(to_json(manifest));
  if (os) json["os"] = OrderedJson::parse(to_json(*os)).at("systems");
  context.out << dump_json(json) << '\n';
  return kDone;
}

}  // namespace

void add_show(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("show", "Show what is known about one snapshot");
  const auto options = std::make_shared<ShowOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST")->required();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_show(*options, context); }; });
}

}  // namespace vmpack::cli
