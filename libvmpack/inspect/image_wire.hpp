// SPDX-License-Identifier: Apache-2.0
// How the child that parses a file system reads the image, without opening anything. Of a raw file it gets
// the descriptor, open for reading alone. For every other format it asks its parent: one request, one reply,
// over a stream socket, in the machine's own byte order.
#pragma once

#include <cstdint>

#include "libvmpack/base/units.hpp"

namespace vmpack::image_wire {

/// Descriptors that the child finds open.
inline constexpr int kImageDescriptor = 3;   ///< the image itself; or a socket: requests out, replies in
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
