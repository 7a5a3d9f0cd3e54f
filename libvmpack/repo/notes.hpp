// SPDX-License-Identifier: Apache-2.0
// The kinds of notes that go with a snapshot.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "libvmpack/repo/reference.hpp"

namespace vmpack {

/// Operating systems and packages: {"systems": [...]}.
inline constexpr std::string_view kOsNote = "os/facts";

/// What ingest told when it made the snapshot under that reference: {"stored_bytes": ...}.
inline std::string ingest_note(const ReferenceName& name) { return fmt::format("ingest/{}", name.text()); }

}  // namespace vmpack
