// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/utf16.hpp"

#include <cstdint>

namespace vmpack {
namespace {

void append_code_point(std::string& to, std::uint32_t value) {
  const auto put = [&to](std::uint32_t byte) { to += static_cast<char>(byte); };
  const auto put_tail = [&put, value](unsigned shift) { put(0x80U | (value >> shift & 0x3fU)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xc0U | value >> 6U);
    put_tail(0);
  } else if (value < 0x10000) {
    put(0xe0U | value >> 12U);
    put_tail(6);
    put_tail(0);
  } else {
    put(0xf0U | value >> 18U);
    put_tail(12);
    put_tail(6);
    put_tail(0);
  }
}

}  // namespace

void append_utf8(std::string& to, ByteView utf16) {
  const std::size_t units = utf16.size() / 2;
  const auto unit = [utf16](std::size_t i) { return read_struct<std::uint16_t>(utf16.subspan(2 * i)); };
  for (std::size_t i = 0; i < units; ++i) {
    std::uint32_t value = unit(i);
    if ((value & 0xfc00U) == 0xd800U && i + 1 < units && (unit(i + 1) & 0xfc00U) == 0xdc00U) {
      value = 0x10000U + ((value & 0x3ffU) << 10U) + (unit(++i) & 0x3ffU);
    }
    append_code_point(to, value);
  }
}

}  // namespace vmpack
