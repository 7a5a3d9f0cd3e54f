// SPDX-License-Identifier: Apache-2.0
// A split-block Bloom filter over digests: says "certainly not here" for one cache line's cost.
// After Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters (2007); blocks as in Apache
// Parquet.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "libvmpack/base/digest.hpp"

namespace vmpack {

inline constexpr std::size_t kFilterBlockWords = 4;  ///< 256 bits

/// What a digest is in every filter, worked out once.
struct FilterKey {
  explicit FilterKey(const Digest& digest);

  std::uint64_t block;  ///< modulo the filter's number of blocks
  /// The eight bits, one in each 32-bit lane, that stand for the digest in its block.
  std::array<std::uint64_t, kFilterBlockWords> mask{};
};

/// A filter for `count` digests at about ten bits each, all zero.
[[nodiscard]] std::vector<std::uint64_t> make_filter(std::uint64_t count);
void filter_insert(std::span<std::uint64_t> filter, const Digest& digest);
/// False only when the digest was never inserted. An empty filter may hold anything.
[[nodiscard]] bool filter_may_contain(std::span<const std::uint64_t> filter, const FilterKey& key);

}  // namespace vmpack
