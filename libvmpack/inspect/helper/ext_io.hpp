// SPDX-License-Identifier: Apache-2.0
// Lets libext2fs read a volume through the parent instead of through a file. Read-only.
#pragma once

#include <ext2fs/ext2fs.h>

#include "libvmpack/inspect/helper/image_client.hpp"

namespace vmpack {

/// The manager to give to ext2fs_open2(); what that opens reads from `client`, which must outlive it.
/// libext2fs passes nothing but a name to its managers, so this remembers one client for the whole process.
[[nodiscard]] io_manager ext_io_manager(ImageClient& client);

}  // namespace vmpack
