// SPDX-License-Identifier: Apache-2.0
// What `ingest --discard-free` left out.
#pragma once

#include <cstdint>

namespace vmpack {

/// Bytes of the image that could hold something and read back as zeros, by reason.
struct DiscardedBytes {
  std::uint64_t free = 0;  ///< blocks that a file system calls free
  std::uint64_t swap = 0;  ///< contents of swap space
};

}  // namespace vmpack
