// SPDX-License-Identifier: Apache-2.0
#include "server/reference_counts.hpp"

#include <algorithm>
#include <tuple>

namespace vmpack {

void ReferenceCounts::add(const ReferenceTraffic& more) {
  if (!entries_.contains(more.reference) && entries_.size() >= references_max_) make_room();
  Entry& entry = entries_[more.reference];
  entry.traffic += more.traffic;
  entry.touched = ++clock_;
}

void ReferenceCounts::make_room() {
  const auto quietest =
      std::ranges::min_element(entries_, {}, [](const auto& entry) { return entry.second.touched; });
  others_ += quietest->second.traffic;
  entries_.erase(quietest);
}

std::vector<ReferenceTraffic> ReferenceCounts::counted() const {
  std::vector<ReferenceTraffic> all;
  for (const auto& [reference, entry] : entries_) all.push_back({reference, entry.traffic});
  std::ranges::sort(all, [](const ReferenceTraffic& a, const ReferenceTraffic& b) {
    return std::tie(b.traffic.bytes_sent, a.reference) < std::tie(a.traffic.bytes_sent, b.reference);
  });
  return all;
}

}  // namespace vmpack
