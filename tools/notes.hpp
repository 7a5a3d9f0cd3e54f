// SPDX-License-Identifier: Apache-2.0
// The notes that commands leave with a snapshot.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string>
#include <string_view>

#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack::cli {

inline constexpr std::string_view kOsNote = "os/facts";

/// What ingest told when it made the snapshot under that reference.
inline std::string ingest_note(const ReferenceName& name) { return fmt::format("ingest/{}", name.text()); }

/// nullopt where the image's operating systems were not asked. Throws kDamaged.
inline std::optional<OsFacts> os_facts_of(const Repository& repository, const SnapshotDigest& snapshot) {
  const auto note = repository.note(snapshot, kOsNote);
  if (!note) return std::nullopt;
  return os_facts_from_json(*note, std::string(kOsNote));
}

}  // namespace vmpack::cli
