// SPDX-License-Identifier: Apache-2.0
#include "server/http/session.hpp"

#include <spdlog/logger.h>

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "server/http/pages.hpp"

namespace vmpack::http {
namespace {

namespace beast = boost::beast::http;

/// Of one request: no page needs more, and nobody sends us a body.
constexpr std::uint32_t kHeaderBytesMax = 8 * 1024;
constexpr std::uint64_t kBodyBytesMax = 0;

std::string_view as_view(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Session::Session(Socket socket, ServerContext& server, Client client)
    : server_(server),
      socket_(std::move(socket)),
      policy_(server.policy()),
      client_(std::move(client)),
      buffer_(kHeaderBytesMax),
      waits_since_(std::chrono::steady_clock::now()) {}

asio::awaitable<void> Session::run() {
  try {
    bool goes_on = true;
    while (goes_on) goes_on = co_await serve_one();
  } catch (const boost::system::system_error& error) {
    server_.log.debug("{}: the connection ended: {}", client_.peer, error.code().message());
  } catch (const std::exception& error) {
    server_.log.error("{}: closed: {}", client_.peer, error.what());
  }
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  socket_.close(ignored);
}

asio::awaitable<bool> Session::serve_one() {
  beast::request_parser<beast::empty_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(kBodyBytesMax);
  waits_since_ = std::chrono::steady_clock::now();
  co_await beast::async_read(socket_, buffer_, parser, asio::use_awaitable);
  const auto& request = parser.get();
  const std::string method(as_view(request.method_string()));
  const std::string target(as_view(request.target()));
  const auto work = [&] { return answer(method, target, server_.catalog); };
  Answer page = co_await run_on(server_.workers, work);

  beast::response<beast::string_body> response(static_cast<beast::status>(page.status), request.version());
  response.set(beast::field::content_type, page.content_type);
  response.set(beast::field::cache_control, "no-store");
  response.keep_alive(request.keep_alive() && !stopping_);
  response.content_length(page.body.size());
  if (method != "HEAD") response.body() = std::move(page.body);
  waits_since_ = std::chrono::steady_clock::now();
  sending_ = true;
  beast::response_serializer<beast::string_body> serializer(response);
  if (method == "HEAD") {
    co_await beast::async_write_header(socket_, serializer, asio::use_awaitable);
  } else {
    co_await beast::async_write(socket_, serializer, asio::use_awaitable);
  }
  sending_ = false;
  co_return response.keep_alive();
}

void Session::stop() {
  stopping_ = true;
  boost::system::error_code ignored;
  if (!sending_) socket_.close(ignored);
}

void Session::check_deadlines(std::chrono::steady_clock::time_point now) {
  const auto limit = sending_ ? policy_->limits.send_stall : policy_->limits.handshake;
  boost::system::error_code ignored;
  if (now - waits_since_ > limit) socket_.close(ignored);
}

}  // namespace vmpack::http
