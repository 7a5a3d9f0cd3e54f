// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/kills.hpp"

#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {

std::uint64_t kills_wanted() {
  const char* text = std::getenv("VMPACK_KILLS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 40;
}

std::uint64_t kill_at_random_moments(const std::vector<std::string>& command, std::uint64_t kills,
                                     std::uint64_t seed, const std::function<void()>& begin,
                                     const std::function<void()>& check) {
  using Clock = std::chrono::steady_clock;
  constexpr int kKilled = 128 + SIGKILL;
  begin();
  const auto start = Clock::now();
  REQUIRE(wait_for(start_command(command)) == 0);
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  Random random(seed);
  std::uint64_t killed = 0;
  for (std::uint64_t i = 0; i < kills; ++i) {
    const std::chrono::microseconds delay(random.below(static_cast<std::uint64_t>(whole.count())));
    INFO("kill " << i << " after " << delay.count() << " of " << whole.count() << " microseconds");
    begin();
    const int process = start_command(command);
    std::this_thread::sleep_for(delay);
    ::kill(process, SIGKILL);
    const int code = wait_for(process);
    REQUIRE((code == kKilled || code == 0));
    killed += code == kKilled ? 1U : 0U;
    check();
  }
  return killed;
}

}  // namespace vmpack::test
