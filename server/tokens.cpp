// SPDX-License-Identifier: Apache-2.0
#include "server/tokens.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "server/small_file.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kSecretBytesMin = 16;
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace

Tokens::Tokens(const std::vector<TokenSettings>& settings) {
  for (const auto& [name, file] : settings) {
    const std::string text = read_small_file(file);
    const auto secret = trimmed(text);
    if (secret.size() < kSecretBytesMin || secret.find_first_of(kBlanks) != std::string_view::npos) {
      throw Error(ErrorCode::kInvalid,
                  fmt::format("{} holds no secret of at least {} characters", file, kSecretBytesMin),
                  "make one with: openssl rand -hex 32");
    }
    if (name.empty() || std::ranges::find(tokens_, name, &Token::name) != tokens_.end()) {
      throw Error(ErrorCode::kInvalid, fmt::format("the token in {} needs a name of its own", file));
    }
    tokens_.push_back({name, sha256(as_byte_view(secret))});
  }
}

std::optional<std::string> Tokens::name_of(std::string_view secret) const {
  const Digest shown = sha256(as_byte_view(secret));
  const auto found = std::ranges::find(tokens_, shown, &Token::secret);
  if (found == tokens_.end()) return std::nullopt;
  return found->name;
}

}  // namespace vmpack
