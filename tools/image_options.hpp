// SPDX-License-Identifier: Apache-2.0
// Options of the commands that read an image, and how its facts are told.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "libvmpack/base/object_class.hpp"
#include "libvmpack/inspect/appliance_session.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/source/source.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {

struct ImageOptions {
  std::string image;
  std::string format;
  std::string backing_root;
  std::string disk;
  bool no_os = false;

  [[nodiscard]] SourceOptions source() const;
};

/// Adds IMAGE, --format, --backing-root, --disk and --no-os.
void add_image_options(CLI::App& command, ImageOptions& options);
/// Adds the same without IMAGE.
void add_source_options(CLI::App& command, ImageOptions& options);

/// The appliance at work on `source`; null with --no-os.
[[nodiscard]] std::unique_ptr<ApplianceSession> start_appliance(bool no_os, Source& source);
/// What can be read at once. The appliance, if there is one, is asked for the rest; if there is none, a
/// warning says what is not read.
[[nodiscard]] Layout inspect_image(Source& source, ApplianceSession* appliance, Progress& progress);

/// Waits for what the appliance finds of operating systems, leaves a note of it and prints it. The snapshot
/// stands without: whatever fails here is a warning.
void add_os_note(ApplianceSession& appliance, const Repository& repository, const SnapshotDigest& snapshot,
                 const CommonOptions& options, Progress& progress, const Context& context);

/// A JSON object of objects and bytes by class, classes without objects left out.
[[nodiscard]] OrderedJson classes_to_json(const std::array<ClassStatistics, kObjectClassCount>& classes);
void print_classes(std::ostream& out, const std::array<ClassStatistics, kObjectClassCount>& classes);

void print_volumes(std::ostream& out, const std::vector<VolumeSummary>& volumes);
void print_systems(std::ostream& out, const OsFacts& facts);

}  // namespace vmpack::cli
