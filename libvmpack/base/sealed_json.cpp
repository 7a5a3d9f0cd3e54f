// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/sealed_json.hpp"

#include <fmt/core.h>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kStart = "{\n  \"xxh3\": \"";
constexpr std::string_view kZeros = "0000000000000000";

std::string checksum_text(std::string_view zeroed) {
  return fmt::format("{:016x}", xxh3(as_byte_view(zeroed)));
}

}  // namespace

std::string seal_json(std::string_view object_text) {
  VMPACK_ASSERT(object_text.starts_with('{') && object_text.ends_with('}'));
  const std::string_view rest = object_text.substr(1);
  const bool empty = rest.find_first_not_of(" \n\r\t") == rest.size() - 1;
  std::string text = fmt::format("{}{}\"{}{}\n", kStart, kZeros, empty ? "" : ",", rest);
  text.replace(kStart.size(), kZeros.size(), checksum_text(text));
  return text;
}

std::string_view check_sealed_json(std::string_view text, std::string_view where) {
  bool right = text.size() >= kStart.size() + kZeros.size() && text.starts_with(kStart);
  if (right) {
    std::string zeroed(text);
    zeroed.replace(kStart.size(), kZeros.size(), kZeros);
    right = text.substr(kStart.size(), kZeros.size()) == checksum_text(zeroed);
  }
  if (!right) {
    throw Error(
        ErrorCode::kDamaged, fmt::format("{} is damaged: its checksum does not match", where),
        "run 'vmpack verify' to see what else is, and restore the file from a copy of the repository");
  }
  return text;
}

}  // namespace vmpack
