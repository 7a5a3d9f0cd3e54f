// SPDX-License-Identifier: Apache-2.0
// What the commands that make a snapshot from another one tell about it, and find out afterwards.
#pragma once

#include "libvmpack/ingest/child_snapshot.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/source/source.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {

/// Leaves a note of it as ingest does, and prints it.
void tell_child(const ChildResult& child, const ParentSnapshot& parent, const ReferenceName& name,
                const SourceFacts& source, const CommonOptions& options, const Context& context);

/// Writes the child's file table; that the snapshot stands without it shows in that failing is a warning.
void record_child_files(const ParentSnapshot& parent, const ChildResult& child, const Layout& layout,
                        Source& source, int level, Progress& progress);

}  // namespace vmpack::cli
