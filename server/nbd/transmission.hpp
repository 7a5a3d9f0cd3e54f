// SPDX-License-Identifier: Apache-2.0
// Answers a client's requests until it leaves. What is in memory is answered on the network thread, straight
// into the bytes that leave; what is not is done by workers, and answered when it is ready, in any order.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/async.hpp"
#include "server/context.hpp"
#include "server/nbd/handshake.hpp"
#include "server/nbd/job.hpp"
#include "server/nbd/read_ahead.hpp"
#include "server/nbd/reply.hpp"
#include "server/nbd/request.hpp"
#include "server/traffic.hpp"

namespace vmpack::nbd {

/// Every method on the stream's thread, but for what workers do with their own job.
class Transmission : public std::enable_shared_from_this<Transmission> {
 public:
  Transmission(std::shared_ptr<Stream> stream, const asio::any_io_executor& executor, ServerContext& server,
               const ServerLimits& limits, Agreement agreement, std::string peer);

  /// Ends when the client leaves, when stop() was called and what was under way is answered, or with an
  /// exception when the connection breaks. Jobs may live longer, and hold this object.
  asio::awaitable<void> run();

  /// Takes no more requests.
  void stop();

  [[nodiscard]] const Traffic& statistics() const { return statistics_; }
  [[nodiscard]] const std::string& reference() const { return agreement_.exported.name; }

 private:
  using JobPtr = std::unique_ptr<Job>;

  /// Requests as they come off the socket.
  class Input {
   public:
    [[nodiscard]] ByteSpan room() { return ByteSpan(bytes_).subspan(end_); }
    void commit(std::size_t bytes) { end_ += bytes; }
    [[nodiscard]] ByteView view() const { return ByteView(bytes_).subspan(begin_, end_ - begin_); }
    void drop(std::size_t bytes);

   private:
    Bytes bytes_ = Bytes(16 * kKiB);
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
  };

  /// False when there is nothing more to come, or when no more is wanted.
  asio::awaitable<bool> receive();
  asio::awaitable<void> serve_received();
  asio::awaitable<void> serve(Request request, Verdict verdict);
  asio::awaitable<void> serve_read(Request request);
  asio::awaitable<void> serve_large_read(Request request);
  asio::awaitable<void> skip(std::uint32_t bytes);
  asio::awaitable<void> send_plain(Request request, Status status, std::string_view message);

  [[nodiscard]] bool fits_in_output(const Request& request) const;
  /// Answers [range] of a read if all of it is in memory; the output must have room.
  bool serve_from_memory(const Request& request, ByteRange range, bool last);

  /// What the client is likely to ask for next comes into the cache meanwhile.
  void note_read(const Request& request, bool from_memory);
  void fetch_ahead(ByteRange range);

  asio::awaitable<void> make_room(std::size_t bytes);
  /// Sends everything that is ready. Returns at once when that is being done already.
  asio::awaitable<void> flush();
  asio::awaitable<void> flush_in_background();
  void drop_finished();
  asio::awaitable<void> drain();

  void end_in_order(const Request& request);
  /// Waits until the job may be done, and counts it.
  asio::awaitable<void> admit(Job& job);
  asio::awaitable<void> enqueue(JobPtr job);
  void post(JobPtr job);
  void work(JobPtr job);        // on a worker thread
  void collect();               // what workers have done
  void settle(const Job& job);  // its reply has left, or never will
  void report(const Request& request, std::string_view fault);
  void check_unbroken() const;

  const std::shared_ptr<Stream> stream_;
  asio::any_io_executor executor_;
  ServerContext& server_;
  const ServerLimits limits_;
  const Agreement agreement_;
  const Terms terms_;
  const std::string peer_;
  Traffic statistics_;

  Input input_;
  ReadAhead read_ahead_;
  bool leaving_ = false;              ///< no more requests are taken
  bool stopping_ = false;             ///< because the server stops
  std::atomic<bool> broken_ = false;  ///< nothing can be sent any more: workers need not start

  OutputBuffer output_;
  OutputBuffer output_leaving_;
  std::vector<JobPtr> finished_;  ///< replies that wait to be sent
  bool sending_ = false;
  Signal changed_;  ///< something was sent, or a job was done

  std::uint64_t jobs_ = 0;  ///< handed to workers and not settled
  std::uint64_t job_bytes_ = 0;
  std::mutex done_mutex_;
  std::vector<JobPtr> done_;  ///< guarded by done_mutex_

  std::string last_fault_;
  std::chrono::steady_clock::time_point last_fault_time_;
};

}  // namespace vmpack::nbd
