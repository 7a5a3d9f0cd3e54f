// SPDX-License-Identifier: Apache-2.0
// The notes that commands read.
#pragma once

#include <optional>
#include <string>

#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/repo/notes.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack::cli {

/// nullopt where the image's operating systems were not asked. Throws kDamaged.
inline std::optional<OsFacts> os_facts_of(const Repository& repository, const SnapshotDigest& snapshot) {
  const auto note = repository.note(snapshot, kOsNote);
  if (!note) return std::nullopt;
  return os_facts_from_json(*note, std::string(kOsNote));
}

}  // namespace vmpack::cli
