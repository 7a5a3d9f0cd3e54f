// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {

std::uint64_t Random::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

Bytes random_bytes(std::uint64_t seed, std::size_t count) {
  Random random(seed);
  Bytes bytes(count);
  for (std::size_t at = 0; at < count; at += sizeof(std::uint64_t)) {
    const std::uint64_t value = random.next();
    std::memcpy(bytes.data() + at, &value, std::min(sizeof(value), count - at));
  }
  return bytes;
}

}  // namespace vmpack::test
