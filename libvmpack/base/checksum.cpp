// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/checksum.hpp"

#include <xxhash.h>

namespace vmpack {

std::uint64_t xxh3(ByteView bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace vmpack
