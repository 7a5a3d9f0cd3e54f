// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/error.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace vmpack {

Error system_error(int error_number, std::string_view doing, std::string_view path) {
  auto code = ErrorCode::kIo;
  std::string hint;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      code = ErrorCode::kNotFound;
      break;
    case EEXIST:
      code = ErrorCode::kAlreadyExists;
      break;
    case ENOSPC:
    case EDQUOT:
      code = ErrorCode::kNoSpace;
      hint = "free some space and run the command again; what was committed before is unharmed";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      hint = "check the permissions, or run as a user who may do this";
      break;
    default:
      break;
  }
  return {code, fmt::format("{} {}: {}", doing, path, std::generic_category().message(error_number)), hint};
}

void invariant_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "vmpack: internal error: %s does not hold (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace vmpack
