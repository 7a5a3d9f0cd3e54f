// SPDX-License-Identifier: Apache-2.0
// Names of the notes that commands leave with a snapshot.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "libvmpack/repo/reference.hpp"

namespace vmpack::cli {

inline constexpr std::string_view kOsNote = "os/facts";

/// What ingest told when it made the snapshot under that reference.
inline std::string ingest_note(const ReferenceName& name) { return fmt::format("ingest/{}", name.text()); }

}  // namespace vmpack::cli
