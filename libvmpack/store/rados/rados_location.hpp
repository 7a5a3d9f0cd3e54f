// SPDX-License-Identifier: Apache-2.0
// rados://POOL/PREFIX?id=NAME&conf=PATH&keyring=PATH&timeout=SECONDS, taken apart.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmpack {

inline constexpr std::string_view kRadosScheme = "rados://";

struct RadosLocation {
  std::string pool;
  std::string name_space;              ///< the prefix: one repository each
  std::string user = "client.admin";   ///< Ceph's name, "client." included
  std::string conf;                    ///< empty: $CEPH_CONF, else where Ceph looks
  std::string keyring;                 ///< empty: what the configuration says
  std::optional<int> timeout_seconds;  ///< for each answer; nullopt: the configuration's, else a minute

  /// Without the options, for messages and as the store's name.
  [[nodiscard]] std::string text() const;
};

/// `ceph_args` are the options of $CEPH_ARGS, of which it takes the user's name (--id, --name, -n); the URL's
/// goes before it. Throws kInvalid, saying what is wrong.
[[nodiscard]] RadosLocation parse_rados_location(std::string_view url, std::string_view ceph_args = {});

}  // namespace vmpack
