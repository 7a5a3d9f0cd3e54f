// SPDX-License-Identifier: Apache-2.0
// How the child that parses a file system asks its parent for bytes of the image: one request, one reply,
// over a stream socket, in the machine's own byte order. So the child opens no file, and every container
// format works.
#pragma once

#include <cstdint>

#include "libvmpack/base/units.hpp"

namespace vmpack::image_wire {

/// Descriptors that the child finds open.
inline constexpr int kImageDescriptor = 3;   ///< requests out, replies in
inline constexpr int kResultDescriptor = 4;  ///< layout stream out

/// One request's bytes.
inline constexpr std::uint32_t kReadBytesMax = 1 * kMiB;

struct Request {
  std::uint64_t offset = 0;  ///< in the image
  std::uint32_t length = 0;  ///< 1 to kReadBytesMax
  std::uint32_t reserved = 0;
};

/// Followed by `length` bytes: what was asked for, or none when the parent could not read it.
struct Reply {
  std::uint32_t length = 0;
  std::uint32_t failed = 0;
};

}  // namespace vmpack::image_wire
