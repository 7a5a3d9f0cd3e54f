// SPDX-License-Identifier: Apache-2.0
// The few things that our coroutines wait for: bytes of a socket, blocking work on other threads, a share of
// a budget, a change of state. Included by few sources only, since Asio takes its time to compile.
//
// GCC 12 destroys what `co_await` waited for twice when it stands in a condition (`while (a && co_await
// b())`): await in a statement of its own.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "libvmpack/base/bytes.hpp"
#include "server/budget.hpp"
#include "server/tls.hpp"

namespace vmpack {

namespace asio = boost::asio;

/// TCP and unix alike. Belongs to the network thread of its executor.
using Socket = asio::generic::stream_protocol::socket;

/// A connection's bytes, in plain or through TLS. Every method on the socket's own thread; one read and one
/// write may be under way at once.
class Stream {
 public:
  explicit Stream(Socket socket);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// The server's side of a TLS handshake; from then on all bytes go through TLS. Nothing else may be under
  /// way. Throws Error when TLS fails or the client leaves: the stream may only be shut down and closed then.
  asio::awaitable<TlsIdentity> start_tls(const TlsServer& server);
  [[nodiscard]] bool has_tls() const { return tls_ != nullptr; }

  /// Some bytes, at least one; 0 when the client has sent its last. Throws boost::system::system_error, and
  /// Error when TLS fails.
  asio::awaitable<std::size_t> read_some(ByteSpan into);
  /// All of `into`. False when the client's last byte came before.
  asio::awaitable<bool> read_all(ByteSpan into);
  /// All of `buffers`, in order. They may be changed. Does not suspend while the kernel takes everything at
  /// once.
  asio::awaitable<void> write(std::span<asio::const_buffer> buffers);

  /// Wakes a waiting read with operation_aborted; a write goes on.
  void interrupt_read();
  /// No more bytes to the client; reads go on. No write may be under way.
  void shut_down_send();
  /// Reads up to the client's last byte, whatever comes.
  asio::awaitable<void> discard_input();
  void close();

  /// Since when a write has been waiting for the client to take something; nullopt when none is.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> stalled_since() const {
    return stalled_since_;
  }

 private:
  struct Tls;

  asio::awaitable<std::size_t> read_socket(ByteSpan into);
  asio::awaitable<std::size_t> read_tls(ByteSpan into);
  asio::awaitable<void> write_socket(std::span<asio::const_buffer> buffers);
  asio::awaitable<void> write_tls(std::span<asio::const_buffer> buffers);
  asio::awaitable<void> send_outgoing(Tls& tls);
  asio::awaitable<void> wait_until_writable();

  Socket socket_;
  std::unique_ptr<Tls> tls_;  // null: plain
  std::optional<std::chrono::steady_clock::time_point> stalled_since_;
};

/// Lets coroutines of one network thread wait until another of them changed something.
class Signal {
 public:
  explicit Signal(const asio::any_io_executor& executor) : timer_(executor) {}

  /// Returns after the next notify(), and now and then without one: check the condition again.
  asio::awaitable<void> wait();
  void notify() { timer_.cancel(); }

 private:
  asio::steady_timer timer_;
};

/// Takes `claim`, waiting in line for it. The caller gives it back.
asio::awaitable<void> take(Budget& budget, Claim claim);

/// Runs `work` on a thread of `workers` and returns what it returned, or throws what it threw, here.
template <typename Work>
asio::awaitable<std::invoke_result_t<Work>> run_on(asio::thread_pool& workers, Work work) {
  std::optional<std::invoke_result_t<Work>> result;
  std::exception_ptr error;
  auto there = asio::bind_executor(workers.get_executor(), asio::use_awaitable);
  co_await asio::post(there);
  try {
    result.emplace(work());
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::post(asio::use_awaitable);
  if (error) std::rethrow_exception(error);
  co_return std::move(*result);
}

}  // namespace vmpack
