// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/key.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kCharacters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+@:-";

[[noreturn]] void refuse(std::string_view what, std::string_view key, std::string_view location) {
  throw Error(ErrorCode::kInvalid,
              fmt::format("'{}' is not a {} of the store {}", printable(key), what, location));
}

}  // namespace

bool is_key_part(std::string_view part) {
  return !part.empty() && part.size() <= kKeyPartBytesMax && part != "." && part != ".." &&
         part.find_first_not_of(kCharacters) == std::string_view::npos;
}

bool is_key(std::string_view key) {
  if (key.size() > kKeyBytesMax) return false;
  std::size_t parts = 0;
  while (true) {
    const std::size_t slash = key.find('/');
    const std::string_view part = key.substr(0, slash);
    if (!is_key_part(part) || ++parts > kKeyPartsMax) return false;
    if (parts == 1 && part == kStoreOwnPart) return false;
    if (slash == std::string_view::npos) return true;
    key.remove_prefix(slash + 1);
  }
}

void check_key(std::string_view key, std::string_view location) {
  if (!is_key(key)) refuse("key", key, location);
}

void check_key_prefix(std::string_view prefix, std::string_view location) {
  if (prefix.empty()) return;
  if (!prefix.ends_with('/') || !is_key(prefix.substr(0, prefix.size() - 1)))
    refuse("folder", prefix, location);
}

}  // namespace vmpack
