// SPDX-License-Identifier: Apache-2.0
// Files, extents and free space of a FAT12, FAT16 or FAT32 file system. Runs in the child.
#pragma once

#include "libvmpack/inspect/helper/image_client.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// Writes the whole report of the volume, its end included. `found` holds what libblkid says about it.
/// Damage becomes a warning beside whatever could still be read.
void report_fat_volume(ImageClient& image, Volume found, LayoutStreamWriter& out);

}  // namespace vmpack
