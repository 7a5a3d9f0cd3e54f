// SPDX-License-Identifier: Apache-2.0
// What the log says of a connection when it has ended, whatever protocol it spoke.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/access.hpp"
#include "server/record.hpp"

namespace vmpack {

struct ConnectionRecord {
  const Client& client;
  std::string_view protocol;  ///< "nbd", "http"
  std::string_view end;       ///< "closed", "lost"
  bool tls = false;
  std::string exported;  ///< the name that was opened; empty: none
  std::string snapshot;  ///< all digits
  double seconds = 0;
  std::uint64_t requests = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t failures = 0;
};

[[nodiscard]] Record record_of(const ConnectionRecord& connection);

/// "cert:NAME", "psk:NAME", "token:NAME", as rules of access write it; empty when the client proved none.
[[nodiscard]] std::string identity_of(const Client& client);

}  // namespace vmpack
