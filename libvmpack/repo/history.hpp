// SPDX-License-Identifier: Apache-2.0
// The history of a name: every snapshot that was ever committed under it, and what each stands on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/repo/reference.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

struct HistoryEntry {
  SnapshotDigest snapshot;
  std::optional<SnapshotDigest> parent;
  std::optional<std::size_t> parent_entry;  ///< in the history; a parent that is gone has none
  bool named = false;        ///< committed under the name itself; else only the ancestor of one that was
  std::int64_t seconds = 0;  ///< when it was committed, since 1970 by the store's clock
  std::uint64_t image_bytes = 0;
  std::uint64_t data_bytes = 0;
  /// Stored bytes of the frames that the parent does not use; without a parent, that no older entry does.
  std::uint64_t added_bytes = 0;
  std::vector<ReferenceName> references;  ///< that point to it now, of any name
  std::map<std::string, std::string> labels;
};

/// Snapshots that were ever committed as `name`, and their ancestors; with `from`, that snapshot and its
/// ancestors alone. The newest first, and each before its parent. What is damaged is left out, and told in
/// `damaged`. Reads manifests and places, no frame.
[[nodiscard]] std::vector<HistoryEntry> history(const Repository& repository, std::string_view name,
                                                const std::optional<SnapshotDigest>& from,
                                                std::vector<std::string>& damaged);

}  // namespace vmpack
