// SPDX-License-Identifier: Apache-2.0
// The page for people: one file with its style and script inside, which asks for nothing but our own JSON.
#pragma once

#include <string>
#include <string_view>

namespace vmpack {

[[nodiscard]] std::string_view console_page();
/// Of these bytes, quoted.
[[nodiscard]] const std::string& console_etag();
/// What a browser may run and ask for on behalf of the page, as Content-Security-Policy.
[[nodiscard]] const std::string& console_policy();

}  // namespace vmpack
