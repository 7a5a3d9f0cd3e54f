// SPDX-License-Identifier: Apache-2.0
// Bytes written as hexadecimal digits, with blanks where a reader wants them.
#pragma once

#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack::test {

inline Bytes bytes_of(std::string_view hex) {
  Bytes bytes;
  int high = -1;
  for (const char c : hex) {
    if (c == ' ') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::byte>(high * 16 + digit));
      high = -1;
    }
  }
  return bytes;
}

}  // namespace vmpack::test
