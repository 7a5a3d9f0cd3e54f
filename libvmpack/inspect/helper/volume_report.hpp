// SPDX-License-Identifier: Apache-2.0
// What reports of all kinds of file systems have in common.
#pragma once

#include <string_view>

#include "libvmpack/inspect/layout_stream.hpp"

namespace vmpack {

/// The whole report, its end included, of a volume whose file system cannot be read. `kind`: "ntfs", for
/// people.
void report_unreadable(const Volume& found, std::string_view kind, std::string_view why,
                       LayoutStreamWriter& out);

}  // namespace vmpack
