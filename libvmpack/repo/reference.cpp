// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/reference.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kDigestPrefixMin = 4;

bool is_part_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

void check_part(std::string_view part, std::string_view what, std::string_view text) {
  const bool good = !part.empty() && part.size() <= limits::kReferencePartBytesMax && part[0] != '.' &&
                    part[0] != '-' && std::ranges::all_of(part, is_part_char);
  if (good) return;
  throw Error(ErrorCode::kInvalid, fmt::format("'{}' is not a reference: bad {}", printable(text), what),
              "write NAME:TAG or NAME@DIGEST; names and tags are 1 to 128 of A-Z a-z 0-9 . _ - and start "
              "with none of . -");
}

}  // namespace

ReferenceName parse_reference_name(std::string_view text) {
  const auto colon = text.find(':');
  ReferenceName name{std::string(text.substr(0, colon)), "latest"};
  if (colon != std::string_view::npos) name.tag = text.substr(colon + 1);
  check_part(name.name, "name", text);
  check_part(name.tag, "tag", text);
  return name;
}

std::variant<ReferenceName, DigestReference> parse_reference(std::string_view text) {
  const auto at = text.find('@');
  if (at == std::string_view::npos) return parse_reference_name(text);
  DigestReference reference{std::string(text.substr(0, at)), std::string(text.substr(at + 1))};
  check_part(reference.name, "name", text);
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (reference.digest_prefix.size() < kDigestPrefixMin || reference.digest_prefix.size() > 64 ||
      !std::ranges::all_of(reference.digest_prefix, is_hex)) {
    throw Error(ErrorCode::kInvalid, fmt::format("'{}' is not a reference: bad digest", printable(text)),
                "after the @ come 4 to 64 lower-case hexadecimal digits");
  }
  return reference;
}

}  // namespace vmpack
