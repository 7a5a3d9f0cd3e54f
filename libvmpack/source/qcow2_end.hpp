// SPDX-License-Identifier: Apache-2.0
// How long a qcow2 file must be. QEMU reads zeros behind the end of a file, so an image that was cut short
// loses data without a word, and its own check looks no further than the file goes.
#pragma once

#include <string>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Where the last cluster lies that the image's reference counts know of: {0, 0} if they know of none. The
/// file may rightly end inside that cluster, but not before it. The image begins at byte `start` of the file.
/// Reads the header, the reference-count table and one block of it (QEMU's docs/interop/qcow2.txt). Throws
/// Error (kDamaged) when those lie outside the file.
[[nodiscard]] ByteRange qcow2_last_cluster(const std::string& path, std::uint64_t start);

}  // namespace vmpack
