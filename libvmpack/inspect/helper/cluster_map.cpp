// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/cluster_map.hpp"

#include <algorithm>

#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::uint8_t kAllUsed = 0xff;

}  // namespace

ClusterMap::ClusterMap(std::uint64_t clusters)
    : clusters_(clusters), bytes_(divide_up(clusters, 8), kAllUsed) {}

bool ClusterMap::in_use(std::uint64_t cluster) const {
  return cluster >= clusters_ || (bytes_[cluster / 8] >> (cluster % 8) & 1U) != 0;
}

void ClusterMap::set(std::uint64_t first, std::uint64_t count, bool used) {
  if (first >= clusters_) return;
  const std::uint64_t end = first + std::min(count, clusters_ - first);
  while (first < end) {
    std::uint8_t& byte = bytes_[first / 8];
    if (first % 8 == 0 && end - first >= 8) {
      byte = used ? kAllUsed : 0;
      first += 8;
    } else {
      const auto mask = static_cast<std::uint8_t>(1U << (first % 8));
      byte = static_cast<std::uint8_t>(used ? byte | mask : byte & ~mask);
      ++first;
    }
  }
}

void ClusterMap::load(std::uint64_t first, ByteView bitmap) {
  const std::uint64_t at = first / 8;
  if (at >= bytes_.size()) return;
  const std::size_t length = std::min<std::uint64_t>(bitmap.size(), bytes_.size() - at);
  std::memcpy(bytes_.data() + at, bitmap.data(), length);
}

std::uint64_t ClusterMap::find(std::uint64_t at, bool used) const {
  const std::uint8_t nothing = used ? 0 : kAllUsed;  // a byte with none of what is looked for
  while (at < clusters_) {
    if (at % 8 == 0 && bytes_[at / 8] == nothing) {
      at += 8;
    } else if (in_use(at) == used) {
      return at;
    } else {
      ++at;
    }
  }
  return clusters_;
}

void ClusterMap::for_each_free(const std::function<void(std::uint64_t, std::uint64_t)>& visit) const {
  for (std::uint64_t at = find(0, false); at < clusters_;) {
    const std::uint64_t end = find(at, true);
    visit(at, end - at);
    at = find(end, false);
  }
}

}  // namespace vmpack
