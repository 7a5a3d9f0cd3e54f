// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/guest.hpp"

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"

namespace vmpack {

// libguestfs adds advice on how to debug it behind the first line.
void fail(guestfs_h* handle, std::string_view doing) {
  const char* last = guestfs_last_error(handle);
  std::string_view reason = last == nullptr ? "unknown error" : last;
  reason = reason.substr(0, reason.find('\n'));
  throw Error(ErrorCode::kIo, fmt::format("{}: {}", doing, reason));
}

}  // namespace vmpack
