// SPDX-License-Identifier: Apache-2.0
// Reports an image's partition table (MBR with logical partitions, GPT), by libblkid. Runs in the child.
#pragma once

#include "libvmpack/inspect/helper/image_client.hpp"
#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// Writes the whole report, its end included, and returns the partitions that are in it. Reports no table
/// when there is none with a partition in it.
std::vector<Volume> report_partition_table(ImageClient& image, LayoutStreamWriter& out);

}  // namespace vmpack
