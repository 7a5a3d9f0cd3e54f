// SPDX-License-Identifier: Apache-2.0
// Files, extents and free space of an ext2, ext3 or ext4 file system, by libext2fs. Runs in the child.
#pragma once

#include "libvmpack/inspect/helper/image_client.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// True when the volume carries the magic number of an ext superblock, be the rest of it damaged or not.
[[nodiscard]] bool looks_like_ext(ImageClient& image);

/// Writes the whole report of the volume, its end included. `found` holds what libblkid says about it, which
/// may be nothing. Damage becomes a warning beside whatever could still be read.
void report_ext_volume(ImageClient& image, Volume found, LayoutStreamWriter& out);

}  // namespace vmpack
