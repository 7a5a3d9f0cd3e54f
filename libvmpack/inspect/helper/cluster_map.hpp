// SPDX-License-Identifier: Apache-2.0
// Which clusters of a volume are in use. One bit each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

class ClusterMap {
 public:
  /// All in use, so that what nobody speaks of is never called free.
  explicit ClusterMap(std::uint64_t clusters);

  [[nodiscard]] std::uint64_t size() const { return clusters_; }
  [[nodiscard]] bool in_use(std::uint64_t cluster) const;
  [[nodiscard]] bool all_in_use(std::uint64_t first, std::uint64_t count) const {
    return find(first, false) >= std::min(clusters_, first + count);
  }
  /// Both take any range and change what of it is in the volume.
  void set_used(std::uint64_t first, std::uint64_t count) { set(first, count, true); }
  void set_free(std::uint64_t first, std::uint64_t count) { set(first, count, false); }
  /// Takes a piece of a bitmap (the first cluster in the lowest bit, 1: in use), from `first` on, a multiple
  /// of 8.
  void load(std::uint64_t first, ByteView bitmap);

  /// Calls back with every run of free clusters, in order: first cluster, number of clusters.
  void for_each_free(const std::function<void(std::uint64_t, std::uint64_t)>& visit) const;

 private:
  void set(std::uint64_t first, std::uint64_t count, bool used);
  /// The first cluster from `at` on that is in use, or free; size() when there is none.
  [[nodiscard]] std::uint64_t find(std::uint64_t at, bool used) const;

  std::uint64_t clusters_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace vmpack
