// SPDX-License-Identifier: Apache-2.0
// OVA files: a tar archive that holds a virtual machine's descriptor and its disks. They are read where they
// lie.
#pragma once

#include <optional>
#include <string>

#include "libvmpack/base/units.hpp"

namespace vmpack {

struct OvaDisk {
  std::string name;  ///< of its file in the archive
  ByteRange part;    ///< where that lies
};

/// Finds the disk of the OVA at `path` (canonical), or the one that is called `wanted`. `shown` is what the
/// user calls the OVA. Parses in a child. Throws Error: kDamaged (no OVA, cut short, without the disk it
/// names), kInvalid (several disks and none chosen), kNotFound (none of that name), kUnsupported (a
/// compressed disk).
[[nodiscard]] OvaDisk find_ova_disk(const std::string& path, const std::string& shown,
                                    const std::optional<std::string>& wanted);

}  // namespace vmpack
