// SPDX-License-Identifier: Apache-2.0
// The secrets that HTTP clients show, and whose they are. Kept as digests: whoever sees this memory sees no
// secret, and comparing takes the same time for every wrong one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "server/settings.hpp"

namespace vmpack {

/// Immutable: any thread.
class Tokens {
 public:
  Tokens() = default;
  /// Reads the files: each holds one secret, blanks around it do not count. Throws kInvalid when a secret is
  /// too short to be one or a name is given twice, and system_error.
  explicit Tokens(const std::vector<TokenSettings>& settings);

  [[nodiscard]] bool empty() const { return tokens_.empty(); }
  /// nullopt when it is nobody's.
  [[nodiscard]] std::optional<std::string> name_of(std::string_view secret) const;

 private:
  struct Token {
    std::string name;
    Digest secret;
  };
  std::vector<Token> tokens_;
};

}  // namespace vmpack
