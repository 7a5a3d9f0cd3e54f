// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_filter.hpp"

#include <array>

#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

/// A "maybe" that was wrong costs a read of the file's body: about every hundredth, or every 3000th. Small
/// files may be many, and all are asked for each object; large ones are few, and their filters take memory.
constexpr std::uint64_t kBitsPerDigest = 10;
constexpr std::uint64_t kBitsPerDigestSmall = 20;
constexpr std::uint64_t kSmallCountMax = 256 * std::uint64_t{1024};
constexpr std::array<std::uint32_t, 8> kSalts = {0x47b6137bU, 0x44974d91U, 0x8824ad5bU, 0xa2b7289dU,
                                                 0x705495c7U, 0x2df1424bU, 0x9efc4947U, 0x5c6bfb31U};

std::uint64_t word_at(const Digest& digest, std::size_t at) {
  std::uint64_t value;
  std::memcpy(&value, digest.bytes.data() + at, sizeof(value));
  return value;
}

std::size_t first_word(std::size_t words, const FilterKey& key) {
  return static_cast<std::size_t>(key.block % (words / kFilterBlockWords)) * kFilterBlockWords;
}

}  // namespace

FilterKey::FilterKey(const Digest& digest) : block(word_at(digest, 8)) {
  const auto word = static_cast<std::uint32_t>(word_at(digest, 16));
  for (std::size_t lane = 0; lane < kSalts.size(); ++lane) {
    const std::uint32_t bit = (word * kSalts[lane]) >> 27U;
    mask[lane / 2] |= std::uint64_t{1} << (bit + 32 * (lane % 2));
  }
}

std::vector<std::uint64_t> make_filter(std::uint64_t count) {
  const std::uint64_t bits = count * (count <= kSmallCountMax ? kBitsPerDigestSmall : kBitsPerDigest);
  return std::vector<std::uint64_t>(kFilterBlockWords * std::max<std::uint64_t>(1, divide_up(bits, 256)));
}

void filter_insert(std::span<std::uint64_t> filter, const Digest& digest) {
  const FilterKey key(digest);
  const std::size_t first = first_word(filter.size(), key);
  for (std::size_t i = 0; i < kFilterBlockWords; ++i) filter[first + i] |= key.mask[i];
}

}  // namespace vmpack
