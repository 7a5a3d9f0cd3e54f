// SPDX-License-Identifier: Apache-2.0
// One NBD connection from its first byte to its last: handshake, transmission, farewell.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/async.hpp"
#include "server/context.hpp"
#include "server/nbd/handshake.hpp"
#include "server/nbd/transmission.hpp"

namespace vmpack::nbd {

/// Every method on the socket's own network thread.
class Session : public std::enable_shared_from_this<Session> {
 public:
  /// `peer` names the client in the log.
  Session(Socket socket, ServerContext& server, std::string peer);

  /// Ends when the connection has, however it ended. Throws nothing.
  asio::awaitable<void> run();

  /// Ends the connection as soon as what is under way is answered.
  void stop();
  /// Ends it now.
  void close();
  /// Closes it when it takes longer for something than the limits allow. Called about once a second.
  void check_deadlines(std::chrono::steady_clock::time_point now);

 private:
  enum class Phase { kHandshake, kTransmission, kFarewell };

  asio::awaitable<std::optional<Agreement>> negotiate();
  // nullopt when the client has gone, or is not to be talked to.
  asio::awaitable<std::optional<OptionHeader>> next_option();
  asio::awaitable<std::optional<Handshake::Answer>> answer_option(Handshake& handshake, OptionHeader header);
  asio::awaitable<bool> skip(std::uint32_t bytes);
  asio::awaitable<void> send(ByteView bytes);
  asio::awaitable<void> transmit(Agreement agreement);
  asio::awaitable<void> say_farewell();
  void enter(Phase phase);

  ServerContext& server_;
  const asio::any_io_executor executor_;
  const std::shared_ptr<Stream> stream_;
  const std::string peer_;
  std::shared_ptr<Transmission> transmission_;
  Phase phase_ = Phase::kHandshake;
  std::chrono::steady_clock::time_point phase_began_;
  bool stopping_ = false;
};

}  // namespace vmpack::nbd
