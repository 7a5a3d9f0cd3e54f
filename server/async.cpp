// SPDX-License-Identifier: Apache-2.0
#include "server/async.hpp"

#include <sys/socket.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

namespace vmpack {
namespace {

namespace net_error = boost::asio::error;

/// Takes `bytes` off the front of the buffers and returns what is left.
std::span<asio::const_buffer> drop_front(std::span<asio::const_buffer> buffers, std::size_t bytes) {
  while (!buffers.empty() && bytes >= buffers.front().size()) {
    bytes -= buffers.front().size();
    buffers = buffers.subspan(1);
  }
  if (!buffers.empty()) buffers.front() += bytes;
  return buffers;
}

}  // namespace

Stream::Stream(Socket socket) : socket_(std::move(socket)) {
  boost::system::error_code ignored;
  socket_.non_blocking(true);
  if (socket_.local_endpoint(ignored).protocol().family() == AF_UNIX) return;
  // Replies are gathered before they are sent: Nagle could only delay them. Keep-alive finds clients that
  // vanished.
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
}

asio::awaitable<std::size_t> Stream::read_some(ByteSpan into) {
  boost::system::error_code error;
  auto token = asio::redirect_error(asio::use_awaitable, error);
  const std::size_t bytes = co_await socket_.async_read_some(asio::buffer(into.data(), into.size()), token);
  if (error == net_error::eof) co_return 0;
  if (error) throw boost::system::system_error(error);
  co_return bytes;
}

asio::awaitable<bool> Stream::read_all(ByteSpan into) {
  while (!into.empty()) {
    const std::size_t bytes = co_await read_some(into);
    if (bytes == 0) co_return false;
    into = into.subspan(bytes);
  }
  co_return true;
}

asio::awaitable<void> Stream::write(std::span<asio::const_buffer> buffers) {
  while (!buffers.empty()) {
    boost::system::error_code error;
    const std::size_t bytes = socket_.write_some(buffers, error);
    if (error == net_error::would_block || error == net_error::try_again) {
      co_await wait_until_writable();
    } else if (error) {
      throw boost::system::system_error(error);
    }
    buffers = drop_front(buffers, bytes);
  }
}

asio::awaitable<void> Stream::wait_until_writable() {
  stalled_since_ = std::chrono::steady_clock::now();
  boost::system::error_code error;
  auto token = asio::redirect_error(asio::use_awaitable, error);
  do {
    error.clear();
    co_await socket_.async_wait(asio::socket_base::wait_write, token);
    // interrupt_read() wakes writes as well, for nothing.
  } while (error == net_error::operation_aborted && socket_.is_open());
  stalled_since_.reset();
  if (error) throw boost::system::system_error(error);
}

void Stream::interrupt_read() {
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void Stream::shut_down_send() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

void Stream::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> Signal::wait() {
  timer_.expires_at(std::chrono::steady_clock::time_point::max());
  boost::system::error_code ignored;
  auto token = asio::redirect_error(asio::use_awaitable, ignored);
  co_await timer_.async_wait(token);
}

asio::awaitable<void> take(Budget& budget, Claim claim) {
  if (budget.try_take(claim)) co_return;
  const auto wait_in_line = [&budget, claim](auto handler) {
    auto executor = asio::get_associated_executor(handler);
    // Runs on the thread that gave something back; the coroutine goes on on its own.
    auto granted = [executor, handler = std::move(handler)]() mutable {
      asio::post(executor, std::move(handler));
    };
    auto shared = std::make_shared<decltype(granted)>(std::move(granted));
    if (budget.take(claim, [shared] { (*shared)(); })) (*shared)();
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(wait_in_line, asio::use_awaitable);
}

}  // namespace vmpack
