// SPDX-License-Identifier: Apache-2.0
#include "server/base64.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace vmpack {
namespace {

constexpr std::size_t kBytesMax = 16 * 1024 * 1024;  // far below what OpenSSL can count

}  // namespace

std::string encode_base64(ByteView bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  auto* const out = static_cast<unsigned char*>(static_cast<void*>(text.data()));
  text.resize(static_cast<std::size_t>(EVP_EncodeBlock(out, as_u8(bytes), static_cast<int>(bytes.size()))));
  return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > kBytesMax) return std::nullopt;
  const auto padding = static_cast<std::size_t>(text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0);
  std::string bytes(text.size() / 4 * 3, '\0');
  auto* const out = static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
  const int decoded = EVP_DecodeBlock(out, as_u8(as_byte_view(text)), static_cast<int>(text.size()));
  if (decoded < 0 || static_cast<std::size_t>(decoded) < padding) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(decoded) - padding);
  return bytes;
}

}  // namespace vmpack
