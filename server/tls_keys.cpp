// SPDX-License-Identifier: Apache-2.0
#include "server/tls_keys.hpp"

#include <fmt/format.h>

#include <optional>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kNameBytesMax = 256;  // OpenSSL takes no longer ones
constexpr std::size_t kKeyBytesMin = 16;    // shorter ones can be guessed
constexpr std::size_t kKeyBytesMax = 128;

std::optional<unsigned> digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// nullopt unless `digits` are pairs of hexadecimal digits.
std::optional<Bytes> decode_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  Bytes bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const auto high = digit_value(digits[i]);
    const auto low = digit_value(digits[i + 1]);
    if (!high || !low) return std::nullopt;
    bytes.push_back(static_cast<std::byte>(*high * 16 + *low));
  }
  return bytes;
}

}  // namespace

PresharedKeys parse_preshared_keys(std::string_view text, std::string_view path) {
  PresharedKeys keys;
  for (std::size_t line_number = 1; !text.empty(); ++line_number) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const auto bad_line = [&](std::string_view why) {
      return Error(ErrorCode::kInvalid, fmt::format("line {} of {} {}", line_number, path, why),
                   "make keys with: psktool -u NAME -p FILE");
    };
    const auto colon = line.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon > kNameBytesMax ||
        line.find('\0') != std::string_view::npos) {
      throw bad_line("is not NAME:KEY");
    }
    auto key = decode_hex(line.substr(colon + 1));
    if (!key) throw bad_line("has no key in hexadecimal digits");
    if (key->size() < kKeyBytesMin || key->size() > kKeyBytesMax)
      throw bad_line(fmt::format("has no key of {} to {} bytes", kKeyBytesMin, kKeyBytesMax));
    if (!keys.emplace(line.substr(0, colon), std::move(*key)).second)
      throw bad_line("gives a second key to a name");
  }
  if (keys.empty()) throw Error(ErrorCode::kInvalid, fmt::format("{} holds no keys", path));
  return keys;
}

}  // namespace vmpack
