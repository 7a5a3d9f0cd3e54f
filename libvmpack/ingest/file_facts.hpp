// SPDX-License-Identifier: Apache-2.0
// The file table of a snapshot that is committed already: what it holds is found out afterwards, and stays
// outside of its identity.
#pragma once

#include <cstdint>
#include <span>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/ingest/child_snapshot.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Writes the file table of `child` by `layout`, which is what was found on it, and the note that names it.
/// `source` reads as the child does. Content digests are those that ingesting the whole image gives; they are
/// taken from the parent's table for files that are the same there and untouched by the changes, and the
/// others are read. Files of volumes that the manifest does not list are left out. Returns how many files the
/// table has; without any, nothing is written. Throws what reading and writing throw.
std::uint64_t record_files(const ParentSnapshot& parent, const ChildResult& child, const Layout& layout,
                           Source& source, int level, Progress& progress);

}  // namespace vmpack
