// SPDX-License-Identifier: Apache-2.0
// Kills a command at moments by chance, the same in every run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace vmpack::test {

/// What VMPACK_KILLS says, or 40.
[[nodiscard]] std::uint64_t kills_wanted();

/// Runs `command` once to its end, then `kills` times killed at some moment of it. Before each run `begin`
/// puts everything back; after each kill `check` looks at what is left. Returns how many runs were killed
/// before they had ended by themselves.
std::uint64_t kill_at_random_moments(const std::vector<std::string>& command, std::uint64_t kills,
                                     std::uint64_t seed, const std::function<void()>& begin,
                                     const std::function<void()>& check);

}  // namespace vmpack::test
