// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same in every run: a failure is replayed from its seed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libvmpack/base/bytes.hpp"

namespace vmpack::test {

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  [[nodiscard]] std::uint64_t next();
  /// Uniform enough below `bound`, which must not be 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::uint64_t state_;
};

[[nodiscard]] Bytes random_bytes(std::uint64_t seed, std::size_t count);

}  // namespace vmpack::test
