// SPDX-License-Identifier: Apache-2.0
// How a person names a file in an image.
#pragma once

#include <fmt/core.h>

#include <string>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack::cli {

/// "web:v1:/etc/fstab" is a reference, and a path from its first slash on.
struct FileReference {
  std::string reference;
  std::string path;

  /// Throws kInvalid.
  explicit FileReference(const std::string& text) {
    const auto colon = text.find(":/");
    if (colon == std::string::npos || colon == 0) {
      throw Error(ErrorCode::kInvalid, fmt::format("'{}' names no file in an image", printable(text)),
                  "write REF:/PATH, as in web:v1:/etc/fstab");
    }
    reference = text.substr(0, colon);
    path = text.substr(colon + 1);
  }
};

}  // namespace vmpack::cli
