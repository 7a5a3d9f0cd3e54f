// SPDX-License-Identifier: Apache-2.0
// The one thing that must be known about a VMDK before QEMU opens it: which files its descriptor names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmpack {

struct VmdkExtent {
  std::string file;
  std::uint64_t bytes_at_least = 0;  ///< what the file must hold, where the descriptor tells (FLAT), or 0
};

inline constexpr std::size_t kVmdkDescriptorBytesMax = 1024 * 1024;
inline constexpr std::size_t kVmdkExtentsMax = 1024;

/// Reads extent lines as QEMU does ("RW 4192256 SPARSE "disk-s001.vmdk""). Lines it does not know are left to
/// QEMU. Throws Error (kLimit) for more than kVmdkExtentsMax extents; `path` names the descriptor.
[[nodiscard]] std::vector<VmdkExtent> parse_vmdk_extents(std::string_view descriptor,
                                                         const std::string& path);

}  // namespace vmpack
