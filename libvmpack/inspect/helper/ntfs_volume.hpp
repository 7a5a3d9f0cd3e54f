// SPDX-License-Identifier: Apache-2.0
// Files, extents and free space of an NTFS file system, by The Sleuth Kit. Runs in the child.
#pragma once

#include "libvmpack/inspect/helper/image_client.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// Writes the whole report of the volume, its end included. `found` holds what libblkid says about it.
/// Damage becomes a warning beside whatever could still be read. Left out, so that what they occupy counts as
/// metadata: the file system's own files, named streams of files, and the content of files that are
/// compressed, encrypted or reparse points.
void report_ntfs_volume(ImageClient& image, Volume found, LayoutStreamWriter& out);

}  // namespace vmpack
