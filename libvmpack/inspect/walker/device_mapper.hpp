// SPDX-License-Identifier: Apache-2.0
// What the kernel's device mapper says about one of its devices.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace vmpack {

/// The lines of the device's table, as `dmsetup table` prints them. Throws Error.
[[nodiscard]] std::vector<std::string> device_mapper_table(dev_t device);

}  // namespace vmpack
