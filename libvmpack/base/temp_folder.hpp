// SPDX-License-Identifier: Apache-2.0
// Where files lie that nobody needs when the process has ended.
#pragma once

#include <string>

namespace vmpack {

/// $TMPDIR, otherwise /var/tmp: /tmp is memory on many systems. The real path, without links.
[[nodiscard]] std::string temp_folder();

}  // namespace vmpack
