// SPDX-License-Identifier: Apache-2.0
// Leases: who is writing into a repository, who is collecting its garbage, and what must be kept. Each is a
// file with an end, by the store's clock. Format: formats/repository.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

enum class LeaseKind : std::uint8_t { kWriter, kCollector, kHold };
[[nodiscard]] std::string_view lease_kind_name(LeaseKind kind);

/// A lease as its file tells it. Times are seconds since 1970, by the store's clock.
struct LeaseFacts {
  std::string id;
  LeaseKind kind = LeaseKind::kWriter;
  std::string holder;  ///< for people: host and process, or what a user said
  std::int64_t begin = 0;
  std::optional<std::int64_t> end;         ///< none: until it is released
  std::optional<SnapshotDigest> snapshot;  ///< what it keeps: of a hold, or of a writer about to name it

  [[nodiscard]] bool is_over(std::int64_t now) const { return end && *end < now; }
};

/// All leases in the store, those that are over too. Throws kDamaged naming the file: whoever cannot read a
/// lease must take it that somebody needs everything.
[[nodiscard]] std::vector<LeaseFacts> list_leases(Store& store);

/// "leases/<id>".
[[nodiscard]] std::string lease_key(std::string_view id);

/// Keeps a snapshot for `seconds`, or until release_hold(). Returns the lease's id. `holder` as LeaseFacts.
std::string hold_snapshot(Store& store, const SnapshotDigest& snapshot, std::string_view holder,
                          std::optional<std::int64_t> seconds);
/// kNotFound when there is no such hold.
void release_hold(Store& store, std::string_view id);

/// A lease of this process. It ends when this is destroyed; when the process dies, after `kLeaseSeconds`.
/// Any thread.
class Lease {
 public:
  static constexpr std::int64_t kLeaseSeconds = 300;

  /// Durable on return. A collector's: kRefused while another one's is not over. `keeps_itself`: renewed by a
  /// thread of its own; otherwise by renew() alone. `store` must outlive this.
  static std::unique_ptr<Lease> take(Store& store, LeaseKind kind, bool keeps_itself = true);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  /// Makes it last kLeaseSeconds from now. False when it was over meanwhile, or taken away: others may have
  /// acted as if this process were dead, and it stays so. Throws what the store throws.
  bool renew();
  /// As renew(), and from now on it keeps `snapshot`, as a hold does, instead of one before.
  bool keep(const SnapshotDigest& snapshot);
  /// Whether it is over, or was taken away as far as is known.
  [[nodiscard]] bool is_over() const;
  [[nodiscard]] std::int64_t begin() const;
  [[nodiscard]] std::string id() const;

 private:
  struct State;
  explicit Lease(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
