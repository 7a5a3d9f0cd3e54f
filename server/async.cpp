// SPDX-License-Identifier: Apache-2.0
#include "server/async.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

namespace net_error = boost::asio::error;

/// A machine that went away without a word is missed after two minutes: asked after one, then four times
/// more.
constexpr std::array<std::pair<int, int>, 3> kKeepAlive{
    {{TCP_KEEPIDLE, 60}, {TCP_KEEPINTVL, 15}, {TCP_KEEPCNT, 4}}};

/// What is read at once: a record of the largest size, with what TLS adds.
constexpr std::size_t kTlsReceiveBytes = 17 * kKiB;
/// What is encrypted at once. A longer reply is sent part by part, so that it is not held twice.
constexpr std::size_t kTlsSendBytes = 64 * kKiB;

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

/// The buffers between a socket and its TLS.
struct Stream::Tls {
  explicit Tls(const TlsServer& server) : connection(server) {}

  TlsConnection connection;
  Bytes received = Bytes(kTlsReceiveBytes);
  Bytes sending;
};

Stream::Stream(Socket socket) : socket_(std::move(socket)) {
  boost::system::error_code ignored;
  socket_.non_blocking(true);
  if (socket_.local_endpoint(ignored).protocol().family() == AF_UNIX) return;
  // Replies are gathered before they are sent: Nagle could only delay them. Keep-alive finds clients that
  // vanished.
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  for (const auto& [option, value] : kKeepAlive)
    ::setsockopt(socket_.native_handle(), IPPROTO_TCP, option, &value, sizeof(value));
}

Stream::~Stream() = default;

// Plain connections go straight to the socket, without a coroutine more.

asio::awaitable<std::size_t> Stream::read_some(ByteSpan into) {
  return tls_ ? read_tls(into) : read_socket(into);
}

asio::awaitable<void> Stream::write(std::span<asio::const_buffer> buffers) {
  return tls_ ? write_tls(buffers) : write_socket(buffers);
}

asio::awaitable<std::size_t> Stream::read_socket(ByteSpan into) {
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

asio::awaitable<void> Stream::write_socket(std::span<asio::const_buffer> buffers) {
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
  if (tls_) {
    tls_->connection.end();
    tls_->connection.move_outgoing(tls_->sending);
    // A client that takes nothing does not get to know that nothing comes.
    socket_.write_some(asio::buffer(tls_->sending), ignored);
  }
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
}

asio::awaitable<void> Stream::discard_input() {
  Bytes scratch(4 * kKiB);
  for (std::size_t bytes = scratch.size(); bytes > 0;) bytes = co_await read_socket(scratch);
}

void Stream::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

// ---- TLS ----

asio::awaitable<TlsIdentity> Stream::start_tls(const TlsServer& server) {
  auto tls = std::make_unique<Tls>(server);
  for (bool done = false; !done;) {
    std::exception_ptr failure;
    try {
      done = tls->connection.shake_hands();
    } catch (...) {
      failure = std::current_exception();
    }
    co_await send_outgoing(*tls);
    if (failure) std::rethrow_exception(failure);
    if (done) break;
    const std::size_t bytes = co_await read_socket(tls->received);
    if (bytes == 0) throw Error(ErrorCode::kRefused, "TLS failed: the client left");
    tls->connection.take(ByteView(tls->received).first(bytes));
  }
  tls_ = std::move(tls);
  co_return tls_->connection.identity();
}

asio::awaitable<std::size_t> Stream::read_tls(ByteSpan into) {
  for (;;) {
    const std::size_t bytes = tls_->connection.read(into);
    if (bytes > 0 || tls_->connection.ended()) co_return bytes;
    const std::size_t received = co_await read_socket(tls_->received);
    if (received == 0) co_return 0;
    tls_->connection.take(ByteView(tls_->received).first(received));
  }
}

asio::awaitable<void> Stream::write_tls(std::span<asio::const_buffer> buffers) {
  while (!buffers.empty()) {
    std::size_t written = 0;
    for (const auto& buffer : buffers) {
      const std::size_t bytes = std::min(buffer.size(), kTlsSendBytes - written);
      tls_->connection.write(ByteView(static_cast<const std::byte*>(buffer.data()), bytes));
      written += bytes;
      if (written == kTlsSendBytes) break;
    }
    buffers = drop_front(buffers, written);
    co_await send_outgoing(*tls_);
  }
}

asio::awaitable<void> Stream::send_outgoing(Tls& tls) {
  tls.connection.move_outgoing(tls.sending);
  std::array buffers{asio::const_buffer(tls.sending.data(), tls.sending.size())};
  co_await write_socket(buffers);
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
