// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/volume_report.hpp"

#include <fmt/core.h>

namespace vmpack {

void report_unreadable(const Volume& found, std::string_view kind, std::string_view why,
                       LayoutStreamWriter& out) {
  out.file_system(found);
  out.warning(fmt::format("its {} file system cannot be read: {}", kind, why));
  out.end(false);
}

}  // namespace vmpack
