// SPDX-License-Identifier: Apache-2.0
// Views and buffers of bytes, and the two conversions to characters that libraries ask for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace vmpack {

using ByteView = std::span<const std::byte>;
using ByteSpan = std::span<std::byte>;
using Bytes = std::vector<std::byte>;

inline ByteView as_byte_view(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) {
  return {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()};
}
inline const std::uint8_t* as_u8(ByteView bytes) {
  return static_cast<const std::uint8_t*>(static_cast<const void*>(bytes.data()));
}

/// A fixed struct's own bytes. The formats' structs are little-endian and without padding by construction.
template <typename T>
  requires std::is_trivially_copyable_v<T>
ByteView struct_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
/// Copies a fixed struct out of bytes of any alignment. `bytes` must hold at least sizeof(T).
template <typename T>
  requires std::is_trivially_copyable_v<T>
T read_struct(ByteView bytes) {
  T value;
  std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof(T));
  return value;
}

inline void append(Bytes& to, ByteView more) { to.insert(to.end(), more.begin(), more.end()); }

/// True when every byte is zero. About as fast as memory: a head check, then a compare with itself shifted.
inline bool is_zero(ByteView bytes) {
  constexpr std::size_t kHead = 16;
  const std::size_t head = std::min(kHead, bytes.size());
  for (std::size_t i = 0; i < head; ++i) {
    if (bytes[i] != std::byte{0}) return false;
  }
  return bytes.size() <= kHead || std::memcmp(bytes.data(), bytes.data() + kHead, bytes.size() - kHead) == 0;
}

}  // namespace vmpack
