// SPDX-License-Identifier: Apache-2.0
// Reads volumes inside the appliance, with vmpack-volume-walker.
#pragma once

#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/inspect/appliance_wire.hpp"
#include "libvmpack/inspect/helper/guest.hpp"

namespace vmpack {

/// The image's disk must have this label.
inline constexpr const char* kImageLabel = "image";

struct VolumesRequest {
  std::vector<std::uint32_t> partitions;  ///< numbers; 0 for the whole disk
  bool logical_volumes = false;
};

/// As appliance_wire.hpp has it, to the end of the input. Throws Error (kInvalid).
[[nodiscard]] VolumesRequest read_request(std::istream& in);

/// Adds the disks that read_volumes() needs, before the launch and after the image. Throws Error.
void add_scratch_disks(guestfs_h* guest, const std::string& folder);

/// Whether `device` is one of them.
[[nodiscard]] bool is_scratch_disk(std::string_view device);

/// Has `walker` (a path) read what was asked for, into the report file. What fails is in the report. Leaves
/// nothing mounted.
[[nodiscard]] appliance_wire::VolumesReport read_volumes(guestfs_h* guest, const VolumesRequest& request,
                                                         const std::string& walker);

}  // namespace vmpack
