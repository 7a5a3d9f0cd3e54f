// SPDX-License-Identifier: Apache-2.0
// Where files lie that nobody needs when the process has ended.
#pragma once

#include <string>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// $TMPDIR, otherwise /var/tmp: /tmp is memory on many systems. The real path, without links.
[[nodiscard]] std::string temp_folder();

/// A new file there, without a name: it goes with its last descriptor. To be read and written. Throws
/// system_error.
[[nodiscard]] FileDescriptor nameless_file();

}  // namespace vmpack
