// SPDX-License-Identifier: Apache-2.0
// vmpack ingest: packs an image into the repository.
#include "libvmpack/ingest/ingest.hpp"

#include <fmt/core.h>

#include <optional>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/child_snapshot.hpp"
#include "libvmpack/ingest/commit.hpp"
#include "tools/child_facts.hpp"
#include "tools/image_options.hpp"
#include "tools/notes.hpp"

namespace vmpack::cli {
namespace {

struct IngestCommandOptions : CommonOptions {
  ImageOptions image;
  std::string name;
  std::vector<std::string> labels;
  int level = 2;
  bool force = false;
  bool discard_free = false;
  std::string parent;
};

OrderedJson ingest_facts(const IngestResult& result, const ReferenceName& name, const Source& source) {
  return {{"reference", name.text()},
          {"snapshot", result.snapshot.hex()},
          {"source", source.facts().location},
          {"image_bytes", result.manifest.image_bytes},
          {"data_bytes", result.manifest.data_bytes},
          {"objects", result.objects},
          {"objects_new", result.added.objects_new},
          {"bytes_new", result.added.bytes_new},
          {"stored_bytes", result.added.stored_bytes},
          {"frames_new", result.added.frames_new},
          {"packs_new", result.added.packs_new},
          {"seconds", result.seconds}};
}

void print_summary(const IngestResult& result, const ReferenceName& name, std::ostream& out) {
  std::uint64_t files = 0;
  for (const VolumeSummary& volume : result.manifest.volumes) files += volume.file_count;
  const std::uint64_t data = result.manifest.data_bytes;
  const double share =
      data == 0 ? 0 : 100.0 * static_cast<double>(result.added.stored_bytes) / static_cast<double>(data);
  out << fmt::format("{} is {}@{}\n", name.text(), name.name, short_digest(result.snapshot));
  out << fmt::format("  image  {}, {} of data in {} files, {} objects\n",
                     format_bytes(result.manifest.image_bytes), format_bytes(data), format_count(files),
                     format_count(result.objects));
  out << fmt::format("  added  {} ({:.1f} % of the data): {} new objects of {}, in {:.1f} s\n",
                     format_bytes(result.added.stored_bytes), share, format_count(result.added.objects_new),
                     format_bytes(result.added.bytes_new), result.seconds);
  const auto& residue = result.manifest.classes[static_cast<std::size_t>(ObjectClass::kFree)];
  if (const auto& discarded = result.manifest.discarded) {
    out << fmt::format("  zeros  {} of free space and {} of swap are left out, and read back as zeros\n",
                       format_bytes(discarded->free), format_bytes(discarded->swap));
  } else if (residue.bytes >= 16 * kMiB) {
    const auto& stored = result.added.stored_by_class[static_cast<std::size_t>(ObjectClass::kFree)];
    out << fmt::format(
        "  note   {} of the data is residue in free blocks, {} as stored now; --discard-free leaves it out\n",
        format_bytes(residue.bytes), format_bytes(stored));
  }
}

/// Only what differs from the parent is packed; what the volumes hold is recorded afterwards.
SnapshotDigest ingest_below_parent(const ParentSnapshot& parent, Source& source, Layout layout,
                                   const ReferenceName& name, const IngestCommandOptions& options,
                                   ApplianceSession* appliance, Progress& progress, const Context& context) {
  if (appliance != nullptr) appliance->complete(layout, progress);
  const ChildResult child =
      ingest_child(parent, source, layout, name,
                   {options.level, parse_labels(options.labels), options.force, false}, progress);
  tell_child(child, parent, name, source.facts(), options, context);
  record_child_files(parent, child, layout, source, options.level, progress);
  return child.ingest.snapshot;
}

int run_ingest(const IngestCommandOptions& options, const Context& context) {
  const ReferenceName name = parse_reference_name(options.name);
  const auto labels = parse_labels(options.labels);
  const auto repository = open_repository(options);
  const auto progress = make_progress(context, options);
  require_free_name(*repository, name, options.force);
  std::optional<ParentSnapshot> parent;
  if (!options.parent.empty()) parent = open_parent(repository, repository->resolve(options.parent));
  const auto source = open_source(options.image.image, options.image.source(), *progress);
  const auto appliance = start_appliance(options.image.no_os, *source);
  Layout layout = inspect_image(*source, appliance.get(), *progress);
  if (parent) {
    const SnapshotDigest snapshot = ingest_below_parent(*parent, *source, std::move(layout), name, options,
                                                        appliance.get(), *progress, context);
    if (appliance) add_os_note(*appliance, *repository, snapshot, options, *progress, context);
    return kDone;
  }
  const IngestResult result =
      ingest(repository, *source, std::move(layout), name,
             {options.level, labels, options.force, options.discard_free}, *progress, appliance.get());
  const OrderedJson facts = ingest_facts(result, name, *source);
  OrderedJson note = facts;
  note["time"] = repository->store().now();
  note["version"] = VMPACK_VERSION;
  repository->put_note(result.snapshot, ingest_note(name), dump_json(note));
  if (options.json) {
    context.out << dump_json(facts) << '\n';
  } else if (!options.quiet) {
    print_summary(result, name, context.out);
  }
  context.out.flush();
  if (appliance) add_os_note(*appliance, *repository, result.snapshot, options, *progress, context);
  return kDone;
}

}  // namespace

void add_ingest(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("ingest", "Pack an image into the repository");
  const auto options = std::make_shared<IngestCommandOptions>();
  add_image_options(*command, options->image);
  command->add_option("NAME", options->name, "Reference to give it: NAME[:TAG]")->required();
  command->add_option("--level", options->level, "zstd level")
      ->check(CLI::Range(1, 19))
      ->capture_default_str();
  command->add_option("--label", options->labels, "KEY=VALUE kept in the manifest; may be repeated")
      ->type_name("K=V");
  auto* discard = command->add_flag("--discard-free", options->discard_free,
                                    "Leave out free space and contents of swap: they read back as zeros");
  command
      ->add_option("--parent", options->parent,
                   "A snapshot that IMAGE is a later state of: only what differs is packed")
      ->type_name("REF")
      ->excludes(discard);
  command->add_flag("--force", options->force, "Move the reference if it exists");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_ingest(*options, context); };
  });
}

}  // namespace vmpack::cli
