// SPDX-License-Identifier: Apache-2.0
// What a mounted file system calls free, by FS_IOC_GETFSMAP (ext4, XFS).
#pragma once

#include <sys/types.h>

#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// `root`: a directory of the file system; `device`: what it lies on. Offsets on the device, sorted. Throws
/// Error when the file system does not know, or its maps are damaged.
[[nodiscard]] std::vector<ByteRange> mapped_free_space(int root, dev_t device);

}  // namespace vmpack
