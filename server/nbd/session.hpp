// SPDX-License-Identifier: Apache-2.0
// One NBD connection from its first byte to its last: handshake, transmission, farewell.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "server/connection.hpp"
#include "server/context.hpp"
#include "server/nbd/handshake.hpp"
#include "server/nbd/transmission.hpp"

namespace vmpack::nbd {

class Session final : public Connection {
 public:
  Session(Socket socket, ServerContext& server, Client client);

  asio::awaitable<void> run() override;
  void stop() override;
  void check_deadlines(std::chrono::steady_clock::time_point now) override;
  Protocol protocol() const override { return Protocol::kNbd; }
  ConnectionFacts facts() const override;
  ReferenceTraffic take_traffic() override;

 private:
  enum class Phase { kHandshake, kTransmission, kFarewell };

  asio::awaitable<std::optional<Agreement>> negotiate();
  // nullopt when the client has gone, or is not to be talked to.
  asio::awaitable<std::optional<OptionHeader>> next_option();
  asio::awaitable<std::optional<Handshake::Answer>> answer_option(Handshake& handshake, OptionHeader header);
  // False when the client is not to be talked to.
  asio::awaitable<bool> start_tls(Handshake& handshake);
  asio::awaitable<bool> skip(std::uint32_t bytes);
  asio::awaitable<void> send(ByteView bytes);
  asio::awaitable<void> transmit(Agreement agreement);
  asio::awaitable<void> say_farewell();
  /// The one line that the log has of a connection.
  void report(const Export& exported, std::string_view how) const;
  void check_idle(std::chrono::steady_clock::time_point now);
  void enter(Phase phase);
  void close();

  ServerContext& server_;
  const asio::any_io_executor executor_;
  const std::shared_ptr<Stream> stream_;
  const PolicyPtr policy_;
  Client client_;
  std::shared_ptr<Transmission> transmission_;
  Phase phase_ = Phase::kHandshake;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point phase_began_;
  std::uint64_t requests_seen_ = 0;  // when deadlines were checked last
  std::chrono::steady_clock::time_point last_request_;
  bool answering_ = false;  // an option of the handshake
  Traffic told_;            // of what was carried, to the metrics
  bool stopping_ = false;
};

}  // namespace vmpack::nbd
