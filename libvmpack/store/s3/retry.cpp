// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/retry.hpp"

#include <algorithm>

namespace vmpack {

std::chrono::milliseconds retry_wait(const RetryPolicy& policy, unsigned attempt, std::uint64_t random) {
  constexpr unsigned kDoublingsMax = 20;
  const unsigned doublings = std::min(attempt - 2, kDoublingsMax);
  const std::chrono::milliseconds bound =
      std::min(policy.first_wait_max * (1L << doublings), policy.wait_max);
  return std::chrono::milliseconds(random % (static_cast<std::uint64_t>(bound.count()) + 1));
}

}  // namespace vmpack
