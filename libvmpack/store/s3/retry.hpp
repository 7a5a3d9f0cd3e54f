// SPDX-License-Identifier: Apache-2.0
// When to try again, and when to give up.
#pragma once

#include <chrono>
#include <cstdint>

namespace vmpack {

struct RetryPolicy {
  unsigned attempts_max = 10;
  unsigned attempts_max_unanswered =
      3;  ///< while the server has never answered: then its name is likely wrong
  std::chrono::milliseconds first_wait_max{100};
  std::chrono::milliseconds wait_max{10'000};
  std::chrono::seconds give_up_after{120};  ///< no attempt begins later than that
};

/// Before attempt number `attempt` (the second is 2): a random time up to a bound that doubles each time, so
/// that clients who failed together do not come back together ("full jitter"). `random` is uniform.
[[nodiscard]] std::chrono::milliseconds retry_wait(const RetryPolicy& policy, unsigned attempt,
                                                   std::uint64_t random);

}  // namespace vmpack
