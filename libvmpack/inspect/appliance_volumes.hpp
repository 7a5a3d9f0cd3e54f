// SPDX-License-Identifier: Apache-2.0
// What the appliance's report means for a layout. The report is believed as little as the image itself: it
// comes from where that was parsed.
#pragma once

#include "libvmpack/base/progress.hpp"
#include "libvmpack/inspect/appliance_wire.hpp"
#include "libvmpack/inspect/layout.hpp"

namespace vmpack {

/// Whether only the appliance can look inside: a file system that Linux reads and this host's helper does
/// not, or LVM.
[[nodiscard]] bool needs_appliance(const Volume& volume);

/// What to write to the helper's standard input.
[[nodiscard]] std::string appliance_request(const Layout& layout);

/// Puts into `layout` what `report` and the report file, open as `file`, say about the volumes that need the
/// appliance. Never throws for what they say: a volume with a nonsensical report stays opaque. Warns of what
/// is lost.
void complete_layout(Layout& layout, const appliance_wire::VolumesReport& report, int file,
                     Progress& progress);

}  // namespace vmpack
