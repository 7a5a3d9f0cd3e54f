// SPDX-License-Identifier: Apache-2.0
#include "tools/image_options.hpp"

#include <fmt/core.h>

#include <chrono>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/inspect/appliance_volumes.hpp"
#include "libvmpack/inspect/inspect.hpp"
#include "tools/notes.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

/// How long the appliance may take before the command goes on without what it would find.
constexpr std::chrono::seconds kApplianceTimeMax{300};

}  // namespace

SourceOptions ImageOptions::source() const {
  SourceOptions source;
  if (!format.empty()) source.format = format;
  source.backing_root = backing_root;
  if (!disk.empty()) source.disk = disk;
  return source;
}

void add_image_options(CLI::App& command, ImageOptions& options) {
  command
      .add_option(
          "IMAGE", options.image,
          "A raw, qcow2, vmdk, vdi, vhdx or OVA file, also compressed (.gz .xz .zst .bz2), or an nbd:// URI")
      ->required();
  add_source_options(command, options);
}

void add_source_options(CLI::App& command, ImageOptions& options) {
  command
      .add_option("--format", options.format,
                  "Read the image as this format, whatever it looks like; raw: as it is")
      ->type_name("F");
  command
      .add_option("--backing-root", options.backing_root,
                  "Folder that backing and data files must lie in (default: the image's own)")
      ->type_name("DIR");
  command.add_option("--disk", options.disk, "Which disk of an OVA with several")->type_name("NAME");
  command.add_flag("--no-os", options.no_os,
                   "Do without libguestfs: no operating system and packages, no XFS, btrfs and LVM");
}

std::unique_ptr<ApplianceSession> start_appliance(bool no_os, Source& source) {
  if (no_os) return nullptr;
  return ApplianceSession::start(source.attachment(), sector_bytes_of(source), kApplianceTimeMax);
}

Layout inspect_image(Source& source, ApplianceSession* appliance, Progress& progress) {
  Layout layout = inspect(source, {}, progress);
  if (appliance != nullptr) {
    appliance->ask_for(layout);
    return layout;
  }
  for (const Volume& volume : layout.volumes) {
    if (!needs_appliance(volume)) continue;
    progress.warn(
        fmt::format("{} ({}): only the libguestfs appliance could read it, so it is cut by content alone",
                    name_of(volume), volume.type));
  }
  return layout;
}

void add_os_note(ApplianceSession& appliance, const Repository& repository, const SnapshotDigest& snapshot,
                 const CommonOptions& options, Progress& progress, const Context& context) {
  progress.begin("reading the operating system", 0);
  const ApplianceSession::Facts found = appliance.facts();
  progress.end();
  if (!found.failure.empty()) {
    progress.warn(fmt::format("no operating-system facts: {}", found.failure));
    return;
  }
  try {
    repository.put_note(snapshot, kOsNote, to_json(found.facts));
  } catch (const Error& error) {
    progress.warn(fmt::format("the operating-system facts were not stored: {}", error.what()));
    return;
  }
  if (!options.json && !options.quiet && !found.facts.systems.empty()) {
    context.out << "  os    ";
    print_systems(context.out, found.facts);
  }
}

OrderedJson classes_to_json(const std::array<ClassStatistics, kObjectClassCount>& classes) {
  OrderedJson json = OrderedJson::object();
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    if (classes[i].objects == 0) continue;
    json[std::string(to_string(static_cast<ObjectClass>(i)))] = {{"objects", classes[i].objects},
                                                                 {"bytes", classes[i].bytes}};
  }
  return json;
}

void print_classes(std::ostream& out, const std::array<ClassStatistics, kObjectClassCount>& classes) {
  std::vector<std::vector<std::string>> rows = {{"  class", "objects", "bytes"}};
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    if (classes[i].objects == 0) continue;
    rows.push_back({fmt::format("  {}", to_string(static_cast<ObjectClass>(i))),
                    format_count(classes[i].objects), format_bytes(classes[i].bytes)});
  }
  print_table(out, rows, {false, true, true});
}

void print_volumes(std::ostream& out, const std::vector<VolumeSummary>& volumes) {
  std::vector<std::vector<std::string>> rows = {{"  volume", "at", "size", "type", "files", "free", "label"}};
  for (const VolumeSummary& volume : volumes) {
    rows.push_back(
        {fmt::format("  {}", volume.name.empty() ? std::to_string(volume.number) : printable(volume.name)),
         format_bytes(volume.offset), format_bytes(volume.bytes),
         volume.type.empty() ? "unknown" : printable(volume.type),
         volume.inspected ? format_count(volume.file_count) : "-",
         volume.inspected ? format_bytes(volume.free_bytes) : "-", printable(volume.label)});
  }
  print_table(out, rows, {false, true, true, false, true, true, false});
}

void print_systems(std::ostream& out, const OsFacts& facts) {
  for (const OperatingSystem& system : facts.systems) {
    out << fmt::format("  {} ({}), {} packages{}\n",
                       printable(system.product_name.empty() ? system.distribution : system.product_name),
                       printable(system.architecture), format_count(system.packages.size()),
                       system.hostname.empty() ? "" : fmt::format(", host {}", printable(system.hostname)));
  }
}

}  // namespace vmpack::cli
