// SPDX-License-Identifier: Apache-2.0
// How a person names a snapshot: `name:tag`, or `name@<digest prefix>`.
#pragma once

#include <string>
#include <string_view>
#include <variant>

namespace vmpack {

/// A name and a tag are each 1 to 128 of [A-Za-z0-9._-] and do not start
/// with '.' or '-'.
struct ReferenceName {
  std::string name;
  std::string tag;

  [[nodiscard]] std::string text() const { return name + ":" + tag; }
  friend auto operator<=>(const ReferenceName&, const ReferenceName&) = default;
};

struct DigestReference {
  std::string name;
  std::string digest_prefix;  ///< lower-case hexadecimal, 4 to 64 digits
};

/// Without a tag: "latest". Throws kInvalid with what is allowed.
[[nodiscard]] ReferenceName parse_reference_name(std::string_view text);
[[nodiscard]] std::variant<ReferenceName, DigestReference> parse_reference(std::string_view text);

}  // namespace vmpack
