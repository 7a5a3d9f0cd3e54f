// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGHUP, waited for by one thread.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>

namespace vmpack {

class Signals {
 public:
  /// Blocks them in this thread, and in all that it starts.
  Signals();

  /// The next one; nullopt when none came in `time`.
  [[nodiscard]] std::optional<int> wait(std::chrono::nanoseconds time) const;

 private:
  sigset_t set_{};
};

}  // namespace vmpack
