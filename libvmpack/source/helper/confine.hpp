// SPDX-License-Identifier: Apache-2.0
// What the child gives up for good before it looks at the first hostile byte.
#pragma once

#include <cstdint>

namespace vmpack {

/// Bounds memory, and leaves nothing but reading and writing open descriptors, memory, clocks and the exit:
/// any other system call kills the process. Throws Error when the kernel refuses.
void confine(std::uint64_t address_space_bytes);

}  // namespace vmpack
