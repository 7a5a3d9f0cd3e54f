// SPDX-License-Identifier: Apache-2.0
// Who has which bytes of a disk: files, by their extents, or volumes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Claims come from hostile images: where several overlap, the one that begins first has the bytes.
class DiskClaims {
 public:
  static constexpr std::uint32_t kNobody = 0xffffffff;

  void add(const ByteRange& range, std::uint32_t owner) {
    if (range.length > 0 && range.offset <= UINT64_MAX - range.length) claims_.push_back({range, owner});
  }

  /// After the last add(), before the first split().
  void settle() {
    std::ranges::stable_sort(claims_, {}, [](const Claim& claim) { return claim.range.offset; });
    std::uint64_t taken = 0;
    std::size_t kept = 0;
    for (Claim claim : claims_) {
      if (claim.range.end() <= taken) continue;
      const std::uint64_t start = std::max(claim.range.offset, taken);
      claim.range = {start, claim.range.end() - start};
      taken = claim.range.end();
      claims_[kept++] = claim;
    }
    claims_.resize(kept);
  }

  /// Calls each(part, owner) for the parts of `range`, in order, with kNobody for what none claims.
  template <typename Each>
  void split(const ByteRange& range, Each each) const {
    std::uint64_t at = range.offset;
    auto claim = std::ranges::upper_bound(claims_, at, {}, [](const Claim& one) { return one.range.end(); });
    for (; claim != claims_.end() && claim->range.offset < range.end(); ++claim) {
      if (claim->range.offset > at) each(ByteRange{at, claim->range.offset - at}, kNobody);
      const std::uint64_t start = std::max(at, claim->range.offset);
      at = std::min(range.end(), claim->range.end());
      each(ByteRange{start, at - start}, claim->owner);
    }
    if (at < range.end()) each(ByteRange{at, range.end() - at}, kNobody);
  }

 private:
  struct Claim {
    ByteRange range;
    std::uint32_t owner;
  };
  std::vector<Claim> claims_;
};

}  // namespace vmpack
