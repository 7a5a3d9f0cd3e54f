// SPDX-License-Identifier: Apache-2.0
// vmpack snapshot: a new snapshot from one that is there, and what a machine changed on top of it.
#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/child_snapshot.hpp"
#include "libvmpack/ingest/commit.hpp"
#include "libvmpack/ingest/snapshot_source.hpp"
#include "libvmpack/inspect/appliance_volumes.hpp"
#include "libvmpack/inspect/inspect.hpp"
#include "libvmpack/repo/recorded_base.hpp"
#include "libvmpack/source/temp_copy.hpp"
#include "tools/child_facts.hpp"
#include "tools/image_options.hpp"
#include "tools/notes.hpp"

namespace vmpack::cli {
namespace {

struct SnapshotOptions : CommonOptions {
  std::string reference;
  std::string name;
  std::string overlay;
  std::string backing_root;
  std::string uri;
  std::string bitmap;
  std::vector<std::string> labels;
  int level = 2;
  bool force = false;
  bool base_moved = false;
  bool no_facts = false;
  bool no_os = false;
};

Changes open_changes(const SnapshotOptions& options, const Repository& repository, const SnapshotDigest& base,
                     Progress& progress) {
  if (options.overlay.empty()) return open_dirty_bitmap(options.uri, options.bitmap);
  Changes changes = open_overlay(options.overlay, options.backing_root, progress);
  const RecordedBase recorded = check_recorded_base(repository, base, changes.base, options.base_moved);
  if (recorded == RecordedBase::kUnknown) {
    progress.warn(fmt::format("{} names {} as its base: that this is {} is not checked", options.overlay,
                              printable(changes.base), options.reference));
  }
  return changes;
}

/// What the host alone can read, and then, with the appliance, the rest.
void find_facts(const ParentSnapshot& parent, const ChildResult& child, const SnapshotOptions& options,
                Progress& progress, const Context& context) {
  const auto source = open_snapshot_source(parent.repository, child.ingest.snapshot, parent.cache);
  Layout layout = inspect(*source, {}, progress);
  record_child_files(parent, child, layout, *source, options.level, progress);
  if (options.no_os) return;
  const auto copy = copy_to_temp(*source, "to show it to the appliance", progress);
  const auto appliance = start_appliance(options.no_os, *copy);
  appliance->ask_for(layout);
  const bool is_more = std::ranges::any_of(layout.volumes, needs_appliance);
  appliance->complete(layout, progress);
  if (is_more) record_child_files(parent, child, layout, *copy, options.level, progress);
  add_os_note(*appliance, *parent.repository, child.ingest.snapshot, options, progress, context);
}

/// The snapshot stands without these: whatever fails here is a warning.
void add_facts(const ParentSnapshot& parent, const ChildResult& child, const SnapshotOptions& options,
               Progress& progress, const Context& context) {
  try {
    find_facts(parent, child, options, progress, context);
  } catch (const Error& error) {
    progress.warn(fmt::format("not all is known of what it holds: {}", error.what()));
  }
}

int run_snapshot(const SnapshotOptions& options, const Context& context) {
  if (options.overlay.empty() == (options.uri.empty() || options.bitmap.empty())) {
    throw Error(ErrorCode::kInvalid, "nothing says what changed",
                "give --overlay FILE, or --nbd URI and --bitmap NAME");
  }
  const ReferenceName name = parse_reference_name(options.name);
  const auto labels = parse_labels(options.labels);
  const auto repository = open_repository(options);
  const auto progress = make_progress(context, options);
  require_free_name(*repository, name, options.force);
  const ParentSnapshot parent = open_parent(repository, repository->resolve(options.reference));
  const Changes changes = open_changes(options, *repository, parent.snapshot, *progress);
  const ChildResult child =
      snapshot_changes(parent, changes, name, {options.level, labels, options.force, false}, *progress);
  tell_child(child, parent, name, changes.source->facts(), options, context);
  if (!options.no_facts) add_facts(parent, child, options, *progress, context);
  return kDone;
}

}  // namespace

void add_snapshot(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("snapshot", "Make a new snapshot from what a machine changed on top of one");
  const auto options = std::make_shared<SnapshotOptions>();
  command->add_option("REF", options->reference, "What the machine was started from")->required();
  command->add_option("NEW-REF", options->name, "Reference to give it: NAME[:TAG]")->required();
  auto* overlay =
      command->add_option("--overlay", options->overlay, "The machine's qcow2 overlay; its base is not read")
          ->type_name("FILE");
  command
      ->add_option("--backing-root", options->backing_root,
                   "Folder that further overlays and data files must lie in (default: the overlay's own)")
      ->type_name("DIR");
  auto* uri =
      command->add_option("--nbd", options->uri, "NBD export of the machine's disk, as it was at one moment")
          ->type_name("URI")
          ->excludes(overlay);
  auto* bitmap =
      command->add_option("--bitmap", options->bitmap, "Dirty bitmap of that export: what changed since REF")
          ->type_name("NAME");
  uri->needs(bitmap);
  bitmap->needs(uri);
  command->add_option("--level", options->level, "zstd level")
      ->check(CLI::Range(1, 19))
      ->capture_default_str();
  command->add_option("--label", options->labels, "KEY=VALUE kept in the manifest; may be repeated")
      ->type_name("K=V");
  command->add_flag("--force", options->force, "Move the reference if it exists");
  command->add_flag("--base-moved", options->base_moved,
                    "The tag that the overlay names as its base meant REF when the machine was started");
  command->add_flag("--no-facts", options->no_facts, "Do not look into the new snapshot afterwards");
  command->add_flag("--no-os", options->no_os,
                    "Look without libguestfs: no operating system and packages, no XFS, btrfs and LVM");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_snapshot(*options, context); };
  });
}

}  // namespace vmpack::cli
