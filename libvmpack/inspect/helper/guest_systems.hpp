// SPDX-License-Identifier: Apache-2.0
// Operating systems and packages, by libguestfs.
#pragma once

#include "libvmpack/inspect/helper/guest.hpp"
#include "libvmpack/inspect/os_facts.hpp"

namespace vmpack {

/// Nothing is mounted before or after. Throws Error (kIo) when libguestfs cannot look for systems at all.
[[nodiscard]] OsFacts inspect_systems(guestfs_h* guest);

}  // namespace vmpack
