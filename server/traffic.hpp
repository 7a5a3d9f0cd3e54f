// SPDX-License-Identifier: Apache-2.0
// What a connection has carried, and what is known about it while it lasts.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "server/access.hpp"

namespace vmpack {

enum class Protocol { kNbd, kHttp };

[[nodiscard]] constexpr std::string_view to_string(Protocol protocol) {
  return protocol == Protocol::kNbd ? "nbd" : "http";
}

struct Traffic {
  std::uint64_t requests = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t failures = 0;  ///< requests that ended in an error of ours

  Traffic& operator+=(const Traffic& more) {
    requests += more.requests;
    bytes_sent += more.bytes_sent;
    failures += more.failures;
    return *this;
  }
  Traffic& operator-=(const Traffic& less) {
    requests -= less.requests;
    bytes_sent -= less.bytes_sent;
    failures -= less.failures;
    return *this;
  }
  friend Traffic operator-(Traffic a, const Traffic& b) { return a -= b; }
  friend bool operator==(const Traffic&, const Traffic&) = default;
};

/// Traffic of one reference, or of none where that is empty.
struct ReferenceTraffic {
  std::string reference;
  Traffic traffic;
};

struct ConnectionFacts {
  Protocol protocol = Protocol::kNbd;
  Client client;
  std::string reference;  ///< the export that it has open, or was last sent; empty: none yet
  std::chrono::steady_clock::time_point since;
  Traffic traffic;  ///< since it began
};

}  // namespace vmpack
