// SPDX-License-Identifier: Apache-2.0
// XXH3 for files outside the digest chain: it finds damage, it proves nothing against an attacker.
#pragma once

#include <cstdint>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

[[nodiscard]] std::uint64_t xxh3(ByteView bytes);

}  // namespace vmpack
