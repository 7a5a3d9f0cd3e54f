// SPDX-License-Identifier: Apache-2.0
// One HTTP connection: request after request, each answered before the next is looked at.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "server/connection.hpp"
#include "server/context.hpp"
#include "server/http/answer.hpp"
#include "server/http/pages.hpp"
#include "server/http/request.hpp"
#include "server/http/sender.hpp"
#include "server/http/site.hpp"

namespace vmpack::http {

class Session final : public Connection {
 public:
  Session(Socket socket, ServerContext& server, Site& site, Client client);

  asio::awaitable<void> run() override;
  /// A connection that has not begun yet is answered once: whoever comes that late asks how the server is.
  void stop() override;
  void check_deadlines(std::chrono::steady_clock::time_point now) override;
  Protocol protocol() const override { return Protocol::kHttp; }
  ConnectionFacts facts() const override;
  ReferenceTraffic take_traffic() override;

 private:
  enum class Phase { kWaiting, kAnswering, kFarewell };

  /// False when the client is not to be talked to.
  asio::awaitable<bool> start_tls();
  /// False when it was the last one.
  asio::awaitable<bool> serve_one();
  /// nullopt when the client has gone, or the server stops.
  asio::awaitable<std::optional<ParseResult>> next_request();
  asio::awaitable<std::size_t> receive();
  asio::awaitable<Answer> answer_to(const Request& request, const Target& target);
  asio::awaitable<void> send(const Request& request, Answer answer, bool keep_alive);
  asio::awaitable<void> send_text(const Request& request, const Answer& answer, bool keep_alive);
  asio::awaitable<void> send_content(const Request& request, const Answer& answer, bool keep_alive);
  [[nodiscard]] bool is_known(const Request& request) const;
  void enter(Phase phase);
  /// From now on traffic is that of `reference`.
  void count_for(const std::string& reference);

  ServerContext& server_;
  Site& site_;
  Stream stream_;
  const PolicyPtr policy_;
  Client client_;  // without a token: each request shows its own
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  Phase phase_ = Phase::kWaiting;
  std::chrono::steady_clock::time_point phase_began_ = began_;
  bool running_ = false;
  bool stopping_ = false;

  std::string input_;  // what was read of the next requests
  PieceMemory memory_;

  /// What was sent last, since many requests in a row ask for it. It is kept open, but asked for again after
  /// a moment if its path may mean something else by then.
  struct Remembered {
    std::string path;
    std::string authorization;
    ResourcePtr resource;
    std::chrono::steady_clock::time_point found;
  };
  Remembered last_;

  std::string token_;      // name of the one that was shown last, for others to see
  std::string reference_;  // that traffic is counted for
  Traffic traffic_;
  Traffic told_;  // of it, to the metrics
};

}  // namespace vmpack::http
