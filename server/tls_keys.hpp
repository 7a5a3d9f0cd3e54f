// SPDX-License-Identifier: Apache-2.0
// Pre-shared keys, in the file format of GnuTLS's psktool: "name:key in hexadecimal digits" a line.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

using PresharedKeys = std::map<std::string, Bytes, std::less<>>;

/// `path` is for errors, which name the line and show nothing of it. Throws kInvalid.
[[nodiscard]] PresharedKeys parse_preshared_keys(std::string_view text, std::string_view path);

}  // namespace vmpack
