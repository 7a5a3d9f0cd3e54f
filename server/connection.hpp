// SPDX-License-Identifier: Apache-2.0
// A connection, whatever protocol it speaks: what the server does with each of them.
#pragma once

#include <chrono>

#include "server/async.hpp"
#include "server/traffic.hpp"

namespace vmpack {

/// Every method on the socket's own network thread.
class Connection {
 public:
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  virtual ~Connection() = default;

  /// Ends when the connection has, however it ended. Throws nothing.
  virtual asio::awaitable<void> run() = 0;
  /// Ends the connection as soon as what is under way is answered.
  virtual void stop() = 0;
  /// Closes it when it takes longer for something than the limits allow. Called about once a second.
  virtual void check_deadlines(std::chrono::steady_clock::time_point now) = 0;

  [[nodiscard]] virtual Protocol protocol() const = 0;
  [[nodiscard]] virtual ConnectionFacts facts() const = 0;
  /// What it has carried since this was asked last.
  [[nodiscard]] virtual ReferenceTraffic take_traffic() = 0;
};

}  // namespace vmpack
