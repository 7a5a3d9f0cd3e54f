// SPDX-License-Identifier: Apache-2.0
// Traffic by reference, of a bounded number of them, such that no figure ever goes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/traffic.hpp"

namespace vmpack {

/// When there is no room for a new reference, the one that has been quiet for longest gives up its figures,
/// which go to the others'. Not for several threads at once.
class ReferenceCounts {
 public:
  explicit ReferenceCounts(std::size_t references_max) : references_max_(references_max) {}

  void add(const ReferenceTraffic& more);

  /// Those with figures of their own, the most bytes first.
  [[nodiscard]] std::vector<ReferenceTraffic> counted() const;
  /// Of all that have had to go.
  [[nodiscard]] const Traffic& others() const { return others_; }

 private:
  struct Entry {
    Traffic traffic;
    std::uint64_t touched = 0;
  };
  void make_room();

  const std::size_t references_max_;
  std::unordered_map<std::string, Entry> entries_;
  std::uint64_t clock_ = 0;
  Traffic others_;
};

}  // namespace vmpack
