// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/rados/rados_head.hpp"

#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kVersionDigits = 32;

bool is_version(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == kVersionDigits && std::ranges::all_of(text, is_digit);
}

bool is_sound(const RadosHead& head) {
  if (head.bytes > kRadosValueBytesMax) return false;
  if (!head.in_pieces()) return head.bytes <= kRadosPieceBytesMax;
  return head.piece_bytes >= kRadosPieceBytesMin && head.piece_bytes <= kRadosPieceBytesMax;
}

}  // namespace

std::string new_rados_version() {
  std::array<std::uint64_t, 2> random{};
  VMPACK_ASSERT(::getrandom(random.data(), sizeof(random), 0) == sizeof(random));
  return fmt::format("{:016x}{:016x}", random[0], random[1]);
}

std::string encode_rados_head(const RadosHead& head) {
  return fmt::format("1 {} {}", head.bytes, head.piece_bytes);
}

RadosHead decode_rados_head(std::string_view head, std::string_view version, std::string_view where) {
  const Error damaged(ErrorCode::kDamaged,
                      fmt::format("{} is damaged: it has no sound attribute {}", where, kRadosHeadAttribute));
  const std::size_t first = std::min(head.find(' '), head.size());
  const auto format = parse_number<std::uint64_t>(head.substr(0, first));
  if (!format) throw damaged;
  if (*format != 1) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} is written in version {} of the format of RADOS stores", where, *format),
                "read it with the vmpack that wrote it, or a newer one");
  }
  const std::string_view numbers = head.substr(std::min(first + 1, head.size()));
  const std::size_t second = std::min(numbers.find(' '), numbers.size());
  const auto bytes = parse_number<std::uint64_t>(numbers.substr(0, second));
  const auto piece_bytes = parse_number<std::uint64_t>(numbers.substr(std::min(second + 1, numbers.size())));
  if (!bytes || !piece_bytes || !is_version(version)) throw damaged;
  RadosHead decoded{.version = std::string(version), .bytes = *bytes, .piece_bytes = *piece_bytes};
  if (!is_sound(decoded)) throw damaged;
  return decoded;
}

std::string rados_piece_name(std::string_view version, std::uint64_t number) {
  return fmt::format("{}/{}/{}", kStoreOwnPart, version, number);
}

}  // namespace vmpack
