// SPDX-License-Identifier: Apache-2.0
// Numbers in the byte order of qcow2 and VHD.
#pragma once

#include <cstddef>
#include <cstdint>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// `bytes` must hold sizeof(T) bytes at `at`.
template <typename T>
T big_endian(ByteView bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = value << 8U | std::to_integer<std::uint64_t>(bytes[at + i]);
  return static_cast<T>(value);
}

}  // namespace vmpack
