// SPDX-License-Identifier: Apache-2.0
// One HTTP connection: request after request, each answered with a page.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>

#include "server/connection.hpp"
#include "server/context.hpp"

namespace vmpack::http {

class Session final : public Connection {
 public:
  Session(Socket socket, ServerContext& server, Client client);

  asio::awaitable<void> run() override;
  void stop() override;
  void check_deadlines(std::chrono::steady_clock::time_point now) override;

 private:
  /// False when it was the last one.
  asio::awaitable<bool> serve_one();

  ServerContext& server_;
  Socket socket_;
  const PolicyPtr policy_;
  const Client client_;
  boost::beast::flat_buffer buffer_;  // what was read of the next request
  std::chrono::steady_clock::time_point waits_since_;
  bool sending_ = false;
  bool stopping_ = false;
};

}  // namespace vmpack::http
