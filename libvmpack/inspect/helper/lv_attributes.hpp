// SPDX-License-Identifier: Apache-2.0
// What LVM's lv_attr says about a logical volume, see lvs(8).
#pragma once

#include <string>
#include <string_view>

namespace vmpack {

/// What keeps the bytes of a logical volume from being found on its disk; empty when nothing does.
[[nodiscard]] std::string lv_problem(std::string_view attributes);

}  // namespace vmpack
