// SPDX-License-Identifier: Apache-2.0
// The secret in an Authorization field.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmpack::http {

/// `Bearer SECRET`, or `Basic` with the secret as the password and any user, since URLs can carry that.
/// nullopt for anything else.
[[nodiscard]] std::optional<std::string> shown_secret(std::string_view authorization);

}  // namespace vmpack::http
