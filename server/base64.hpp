// SPDX-License-Identifier: Apache-2.0
// Bytes as text, as HTTP wants it in a few places.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

[[nodiscard]] std::string encode_base64(ByteView bytes);
/// nullopt for what is no base64, with its padding.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace vmpack
