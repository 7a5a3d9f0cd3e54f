// SPDX-License-Identifier: Apache-2.0
// Where this user's vmpack keeps what it can find out again.
#pragma once

#include <string>

namespace vmpack {

/// $XDG_CACHE_HOME/vmpack, or ~/.cache/vmpack; root's is /var/cache/vmpack. Nothing is made.
[[nodiscard]] std::string cache_folder();

}  // namespace vmpack
