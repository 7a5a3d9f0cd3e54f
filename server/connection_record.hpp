// SPDX-License-Identifier: Apache-2.0
// What the log says of a connection when it has ended, whatever protocol it spoke.
#pragma once

#include <string>
#include <string_view>

#include "server/record.hpp"
#include "server/traffic.hpp"

namespace vmpack {

/// What is not among its facts.
struct ConnectionEnd {
  std::string_view how;  ///< "closed", "lost"
  bool tls = false;
  std::string exported;  ///< the name that was opened; empty: none
  std::string snapshot;  ///< all digits; empty: several, or none
};

[[nodiscard]] Record record_of(const ConnectionFacts& facts, const ConnectionEnd& end);

/// "cert:NAME", "psk:NAME", "token:NAME", as rules of access write it; empty when the client proved none.
[[nodiscard]] std::string identity_of(const Client& client);

}  // namespace vmpack
