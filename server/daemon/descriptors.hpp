// SPDX-License-Identifier: Apache-2.0
// File descriptors: each connection takes one, and some systems start programs with a limit of 1024.
#pragma once

#include <cstdint>

namespace vmpack {

/// Raises the limit of this process as far as it may, and returns it.
std::uint64_t raise_descriptor_limit();

/// How many connections fit below `descriptors` beside what the server needs itself; at least one.
[[nodiscard]] std::uint64_t connections_below(std::uint64_t descriptors, std::uint64_t network_threads);

}  // namespace vmpack
