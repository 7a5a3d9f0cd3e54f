// SPDX-License-Identifier: Apache-2.0
// A writer's side of the agreement with gc, so that nothing is deleted which a new reference needs:
// docs/gc.md.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// Everything that a snapshot stands on: keys of its manifest, block map, file table, places and packs.
[[nodiscard]] std::vector<std::string> keys_under(const Repository& repository,
                                                  const SnapshotDigest& snapshot);

/// From before a writer looks what is there already until its reference is set.
class WriterSession {
 public:
  /// Takes a lease, then reads what is condemned. `keeps_itself` as for Lease. `repository` must outlive
  /// this.
  explicit WriterSession(const Repository& repository, bool keeps_itself = true);

  /// Packs that gc means to delete, or is deleting: what lies in them must be stored anew.
  [[nodiscard]] const std::unordered_set<PackDigest, DigestHash>& condemned_packs() const {
    return condemned_packs_;
  }

  [[nodiscard]] std::string lease_id() const { return lease_->id(); }

  /// Points `name` at `snapshot`, as Repository::set_reference(), and makes sure that all it stands on is
  /// there to stay. Otherwise kIo, and the reference is as it was.
  void commit(const ReferenceName& name, const SnapshotDigest& snapshot, bool force) const;

  /// Makes sure that `keys`, which something reachable names by now, are there to stay. Otherwise kIo.
  void confirm(std::span<const std::string> keys) const { confirm(keys, lease_->renew()); }

 private:
  void confirm(std::span<const std::string> keys, bool lease_holds) const;

  const Repository& repository_;
  std::unique_ptr<Lease> lease_;
  std::unordered_set<std::string> condemned_;
  std::unordered_set<PackDigest, DigestHash> condemned_packs_;
};

}  // namespace vmpack
