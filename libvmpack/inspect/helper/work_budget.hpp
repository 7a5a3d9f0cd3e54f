// SPDX-License-Identifier: Apache-2.0
// How much work a file system may cause: block maps that loop or multiply would otherwise keep us busy for
// ever.
#pragma once

#include <cstdint>

namespace vmpack {

class WorkBudget {
 public:
  explicit WorkBudget(std::uint64_t steps) : left_(steps) {}
  /// False when nothing is left.
  bool spend(std::uint64_t steps = 1) {
    const bool enough = left_ >= steps;
    left_ -= enough ? steps : left_;
    return enough;
  }
  [[nodiscard]] bool exhausted() const { return left_ == 0; }

 private:
  std::uint64_t left_;
};

}  // namespace vmpack
