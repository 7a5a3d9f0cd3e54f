// SPDX-License-Identifier: Apache-2.0
// JSON files outside the digest chain: ordinary JSON whose first member is an XXH3 of the whole file.
#pragma once

#include <string>
#include <string_view>

namespace vmpack {

/// `object_text` is a JSON object ("{...}"); returns it with a first member "xxh3": sixteen hexadecimal
/// digits of the XXH3 over all bytes of the result, those digits taken as '0'.
[[nodiscard]] std::string seal_json(std::string_view object_text);

/// Throws kDamaged, naming `where`, unless `text` carries a right seal. Returns `text`.
std::string_view check_sealed_json(std::string_view text, std::string_view where);

}  // namespace vmpack
