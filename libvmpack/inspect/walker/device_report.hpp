// SPDX-License-Identifier: Apache-2.0
// What there is to say about the file system on one block device.
#pragma once

#include <string>

#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// Writes the whole report of the device, its end included. Whatever fails there becomes a warning; an
/// Error comes from the sink alone.
void report_device(const std::string& path, LayoutStreamWriter& out);

}  // namespace vmpack
