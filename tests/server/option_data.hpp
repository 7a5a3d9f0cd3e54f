// SPDX-License-Identifier: Apache-2.0
// The data that clients send with their options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "server/nbd/protocol.hpp"

namespace vmpack::test {

template <typename Number>
void append_number(Bytes& to, Number number) {
  to.resize(to.size() + sizeof(number));
  nbd::WireWriter(to.data() + to.size() - sizeof(number)).number(number);
}

inline void append_string(Bytes& to, std::string_view text) {
  append_number(to, static_cast<std::uint32_t>(text.size()));
  append(to, as_byte_view(text));
}

inline Bytes info_data(std::string_view name, const std::vector<std::uint16_t>& infos) {
  Bytes data;
  append_string(data, name);
  append_number(data, static_cast<std::uint16_t>(infos.size()));
  for (const auto info : infos) append_number(data, info);
  return data;
}

inline Bytes meta_data(std::string_view name, const std::vector<std::string>& queries) {
  Bytes data;
  append_string(data, name);
  append_number(data, static_cast<std::uint32_t>(queries.size()));
  for (const auto& query : queries) append_string(data, query);
  return data;
}

/// An option as it goes over the wire.
inline Bytes option_message(nbd::Option option, ByteView data) {
  Bytes message;
  append_number(message, nbd::kOptionMagic);
  append_number(message, std::to_underlying(option));
  append_number(message, static_cast<std::uint32_t>(data.size()));
  append(message, data);
  return message;
}

}  // namespace vmpack::test
