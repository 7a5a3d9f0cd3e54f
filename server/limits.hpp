// SPDX-License-Identifier: Apache-2.0
// What one client, and all of them together, may take from the server. The protocols' own limits are in their
// folders.
#pragma once

#include <chrono>
#include <cstdint>

#include "libvmpack/base/units.hpp"

namespace vmpack {

struct ServerLimits {
  std::uint64_t connections = 1024;
  /// From one IP address, so that one host cannot take all there are. Unix sockets are not counted.
  std::uint64_t connections_per_address = 512;

  /// From connecting to transmission.
  std::chrono::seconds handshake{15};
  /// Without a request in transmission; 0: for ever, as a guest that sleeps needs it.
  std::chrono::seconds idle{0};
  /// How long a client may take none of the bytes that wait for it.
  std::chrono::seconds send_stall{60};
  /// How long a connection may take to end once it was said that it ends.
  std::chrono::seconds linger{2};

  /// Requests that were not answered at once from memory, and the memory for their replies.
  std::uint64_t requests_in_flight = 4096;
  std::uint64_t bytes_in_flight = 256 * kMiB;
  std::uint64_t connection_requests_in_flight = 64;
  std::uint64_t connection_bytes_in_flight = 40 * kMiB;  // one reply of the largest size always fits
  /// What every connection may take even when others hold all there is, so that it goes on.
  std::uint64_t connection_requests_reserved = 4;
  std::uint64_t connection_bytes_reserved = 320 * kKiB;
};

}  // namespace vmpack
