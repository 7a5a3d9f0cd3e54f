// SPDX-License-Identifier: Apache-2.0
// Moves the parts of a plan through windows: from the image into packs, or only through the cutter.
#pragma once

#include <array>
#include <functional>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/ingest/packer.hpp"
#include "libvmpack/ingest/window.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/partition/plan.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Is shown each window after it was cut, one after the other.
using SeeWindow = std::function<void(const Window& window)>;

/// Reads, cuts, deduplicates, compresses and stores, each stage at work on another window; what the packer
/// puts off comes once more, at the end, and `see` is not shown it again. `layout` is what the plan was made
/// for. Throws what reading the source and writing to the store throw.
void pack_plan(const Plan& plan, const Layout& layout, Source& source, Packer& packer,
               const RepositoryParameters& parameters, Progress& progress, const SeeWindow& see);

/// Reads and cuts alone; nothing is stored. `stage` is for the progress.
void cut_plan(const Plan& plan, Source& source, const RepositoryParameters& parameters,
              std::string_view stage, Progress& progress, const SeeWindow& see);

/// Adds the window's objects that are stored.
void count_classes(const Window& window, std::array<ClassStatistics, kObjectClassCount>& classes);

}  // namespace vmpack
