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

/// A filter for `count` digests, all zero: twenty bits each in small ones, ten in large ones.
[[nodiscard]] std::vector<std::uint64_t> make_filter(std::uint64_t count);
void filter_insert(std::span<std::uint64_t> filter, const Digest& digest);

/// A filter, ready to be asked. Its words must outlive this.
class ObjectFilter {
 public:
  ObjectFilter() = default;
  explicit ObjectFilter(std::span<const std::uint64_t> words)
      : words_(words),
        blocks_(words.size() / kFilterBlockWords),
        inverse_(blocks_ == 0 ? 0 : ~0ULL / blocks_) {}

  /// False only when the digest was never inserted. An empty filter may hold anything.
  [[nodiscard]] bool may_contain(const FilterKey& key) const {
    if (blocks_ == 0) return true;
    // The remainder by multiplying: a thousand filters are asked for each object, and dividing takes longer
    // than the rest. The quotient comes out right, or one or two too low.
    __extension__ using Wide = unsigned __int128;
    std::uint64_t block =
        key.block - static_cast<std::uint64_t>((Wide{key.block} * inverse_) >> 64U) * blocks_;
    while (block >= blocks_) block -= blocks_;
    const std::uint64_t* words = words_.data() + block * kFilterBlockWords;
    std::uint64_t missing = 0;
    for (std::size_t i = 0; i < kFilterBlockWords; ++i) missing |= key.mask[i] & ~words[i];
    return missing == 0;
  }

 private:
  std::span<const std::uint64_t> words_;
  std::uint64_t blocks_ = 0;
  std::uint64_t inverse_ = 0;  // of blocks_, times 2^64
};

}  // namespace vmpack
