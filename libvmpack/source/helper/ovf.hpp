// SPDX-License-Identifier: Apache-2.0
// Which files of a virtual machine are disks, by its OVF descriptor (DMTF's DSP0243). Runs in the child.
#pragma once

#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

struct OvfDisk {
  std::string file;            ///< its name in the archive
  std::string compression;     ///< "gzip", or empty
  bool is_difference = false;  ///< it only holds what differs from another disk
};

/// The disks that have a file, in the descriptor's order. Throws Error (kDamaged) for what is no XML.
[[nodiscard]] std::vector<OvfDisk> read_ovf(ByteView descriptor);

}  // namespace vmpack
