// SPDX-License-Identifier: Apache-2.0
// What gc means to delete: the file gc/condemned. Format: formats/repository.md; how writers and gc keep out
// of each other's way: docs/gc.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "libvmpack/store/store.hpp"

namespace vmpack {

inline constexpr std::string_view kCondemnedKey = "gc/condemned";

/// Keys that nothing reachable needed when they were marked.
struct CondemnedBatch {
  std::int64_t marked = 0;  ///< seconds since 1970, by the store's clock
  bool deleting = false;    ///< any of them may be gone already
  std::vector<std::string> keys;
};

struct Condemned {
  std::vector<CondemnedBatch> batches;

  [[nodiscard]] std::unordered_set<std::string> keys() const;
  /// Those that may be gone already.
  [[nodiscard]] std::unordered_set<std::string> being_deleted() const;
};

/// Empty where the file is not there. With `version`, what to replace. Throws kDamaged.
[[nodiscard]] Condemned read_condemned(Store& store, std::optional<StoreVersion>* version = nullptr);

/// Durable on return; removes the file where nothing is condemned. Only the holder of the collector's lease
/// may.
void write_condemned(Store& store, const Condemned& condemned);

}  // namespace vmpack
