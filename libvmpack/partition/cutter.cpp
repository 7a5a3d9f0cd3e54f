// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/cutter.hpp"

#include <algorithm>
#include <bit>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kWindowBytes = 64;

}  // namespace

std::size_t content_defined_cut(ByteView rest, const CutParameters& parameters) {
  if (rest.size() <= parameters.bytes_min) return rest.size();
  const std::size_t end = std::min<std::size_t>(rest.size(), parameters.bytes_max);
  // One sector in `sectors` is a cut on average; two bits harder before the target, two bits easier behind
  // it.
  const std::uint64_t sectors =
      std::bit_floor(std::max<std::uint64_t>(4, parameters.bytes_target / kSectorBytes));
  const std::uint64_t strict = sectors * 4 - 1;
  const std::uint64_t loose = sectors / 4 - 1;
  for (std::size_t at = round_up(std::max<std::uint64_t>(parameters.bytes_min, kSectorBytes), kSectorBytes);
       at < end; at += kSectorBytes) {
    const std::uint64_t hash = xxh3(rest.subspan(at - kWindowBytes, kWindowBytes));
    if ((hash & (at < parameters.bytes_target ? strict : loose)) == 0) return at;
  }
  return end;
}

}  // namespace vmpack
