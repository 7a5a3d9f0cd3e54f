// SPDX-License-Identifier: Apache-2.0
// Where a block device lies on its disk: partitions, loop devices, and device-mapper targets of the kind
// "linear", in any nesting.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/inspect/walker/address_map.hpp"

namespace vmpack {

/// A stretch of one block device that lies on another.
struct LinearTarget {
  AddressRun run;
  dev_t device = 0;  ///< the one below

  friend bool operator==(const LinearTarget&, const LinearTarget&) = default;
};

/// A line of a device-mapper table as dmsetup prints it, "0 8192 linear 8:2 2048", in sectors of 512 bytes.
/// Throws Error: kUnsupported for a target of another kind, kDamaged for what is no such line.
[[nodiscard]] LinearTarget parse_linear_target(std::string_view line);

/// From the device's bytes to its disk's. For a loop device the disk is the file behind it. Throws Error
/// (kUnsupported) for devices that lie on no disk in one piece or a few, or on more than one.
[[nodiscard]] AddressMap disk_addresses(dev_t device, std::uint64_t device_bytes);

}  // namespace vmpack
