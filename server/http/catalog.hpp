// SPDX-License-Identifier: Apache-2.0
// What the repository holds, for those who look at all of it at once and often: kept in memory, and brought
// up to date when somebody asks, in steps, so that ten thousand references do not cost as many reads each
// time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libvmpack/repo/repository.hpp"

namespace vmpack::http {

/// References beyond these are not listed.
inline constexpr std::size_t kCatalogRowsMax = 20'000;

/// One reference: its name, and what is known about it as a JSON object on one line.
struct CatalogRow {
  std::string reference;
  std::string json;
};

struct CatalogTotals {
  std::uint64_t references = 0;
  std::uint64_t snapshots = 0;  ///< that references name, each once; as what follows
  std::uint64_t image_bytes = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t stored_bytes = 0;  ///< of all packs
};

/// Immutable.
struct CatalogView {
  std::vector<CatalogRow> rows;  ///< sorted by name, then tag
  CatalogTotals totals;
  bool complete = false;  ///< false: something is still to be read, or there are too many references
};

/// Every method may be called from any thread, and may block on the store.
class Catalog {
 public:
  explicit Catalog(std::shared_ptr<const Repository> repository) : repository_(std::move(repository)) {}

  /// As it is, or was a few seconds ago. Does not wait for another thread that is bringing it up to date.
  /// Throws what the store throws.
  [[nodiscard]] std::shared_ptr<const CatalogView> view();

  /// All that is known about one reference, `name:tag` or `name@digest`, with its packages: a JSON object.
  /// Throws kNotFound, kInvalid, kDamaged.
  [[nodiscard]] std::string entry(std::string_view reference) const;

 private:
  /// What notes and manifest say about a snapshot.
  struct Facts {
    std::uint64_t image_bytes = 0;
    std::uint64_t data_bytes = 0;
    std::optional<std::uint64_t> stored_bytes;  ///< what its ingest added
    std::optional<std::string> os;
    std::size_t packages = 0;
    bool damaged = false;
    std::chrono::steady_clock::time_point read_at;
  };
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] bool is_due(const Facts& facts, const ReferenceEntry& entry) const;
  [[nodiscard]] Facts read_facts(const ReferenceEntry& entry) const;
  [[nodiscard]] const Facts* facts_of(const ReferenceEntry& entry, Clock::time_point deadline);
  [[nodiscard]] std::shared_ptr<const CatalogView> refresh();
  void count_packs();

  const std::shared_ptr<const Repository> repository_;
  std::mutex refreshing_;
  std::unordered_map<SnapshotDigest, Facts, DigestHash> facts_;  // guarded by refreshing_, as what follows
  std::uint64_t packs_bytes_ = 0;
  Clock::time_point packs_counted_;
  Clock::time_point next_refresh_;

  std::mutex mutex_;
  std::shared_ptr<const CatalogView> view_ = std::make_shared<CatalogView>();  // guarded by mutex_
};

}  // namespace vmpack::http
