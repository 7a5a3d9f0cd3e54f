// SPDX-License-Identifier: Apache-2.0
// What a key may look like. Keys come from repositories that nobody vouches for, and become file names.
#pragma once

#include <cstddef>
#include <string_view>

namespace vmpack {

inline constexpr std::size_t kKeyBytesMax = 1024;  ///< as in S3
inline constexpr std::size_t kKeyPartBytesMax = 255;
inline constexpr std::size_t kKeyPartsMax = 16;

/// Keys whose first part is this one belong to the store itself: never a user's, never listed.
inline constexpr std::string_view kStoreOwnPart = "tmp";

/// One part of a key: 1 to 255 of [A-Za-z0-9._+@:-], neither "." nor "..".
[[nodiscard]] bool is_key_part(std::string_view part);

/// Whether it is one that a user of a store may use.
[[nodiscard]] bool is_key(std::string_view key);

/// Throws kInvalid, naming `location` and the key, unless `key` is one that a user of a store may use.
void check_key(std::string_view key, std::string_view location);

/// The same for what keys are listed by: empty, or a folder with its '/'.
void check_key_prefix(std::string_view prefix, std::string_view location);

}  // namespace vmpack
