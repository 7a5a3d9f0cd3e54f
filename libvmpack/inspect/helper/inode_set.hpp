// SPDX-License-Identifier: Apache-2.0
// A set of inode numbers that costs memory only where numbers are in it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace vmpack {

class InodeSet {
 public:
  /// For numbers up to and including `largest`.
  explicit InodeSet(std::uint32_t largest)
      // calloc takes pages that are zero until touched; a vector would touch them all.
      : bits_(static_cast<std::uint8_t*>(std::calloc(largest / 8U + 1U, 1))) {
    if (bits_ == nullptr) throw std::bad_alloc();
  }

  /// True when it was not in the set before.
  bool insert(std::uint32_t number) {
    const auto mask = static_cast<std::uint8_t>(1U << (number % 8U));
    std::uint8_t& byte = bits_.get()[number / 8U];
    const bool fresh = (byte & mask) == 0;
    byte |= mask;
    return fresh;
  }

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::uint8_t, Free> bits_;
};

}  // namespace vmpack
