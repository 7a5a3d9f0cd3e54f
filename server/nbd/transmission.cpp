// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/transmission.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <cstring>
#include <utility>

#include "libvmpack/base/error.hpp"

namespace vmpack::nbd {
namespace {

/// A read that may be answered in several chunks is cut here: one piece fits into the output, and holds up
/// nobody for long.
constexpr std::uint64_t kPieceBytes = 256 * kKiB;
/// Room for one piece, its header, and a few replies without data.
constexpr std::size_t kOutputBytes = kPieceBytes + 8 * kKiB;
/// From this length on a read's data is not copied: what holds it together costs more than copying less.
constexpr std::uint64_t kSharedBytesMin = 64 * kKiB;
/// Read-ahead is done in parts of this, by several workers at once.
constexpr std::uint64_t kAheadPartBytes = 512 * kKiB;
constexpr std::size_t kPlainReplyBytesMax = 4 * kKiB;
/// Replies of workers that leave together.
constexpr std::size_t kJobsAtOnce = 16;
/// The same fault again within this time is not logged again: a client may retry for ever.
constexpr std::chrono::seconds kFaultQuiet{10};

}  // namespace

Transmission::Transmission(std::shared_ptr<Stream> stream, const asio::any_io_executor& executor,
                           ServerContext& server, const ServerLimits& limits, Agreement agreement,
                           std::string peer)
    : stream_(std::move(stream)),
      executor_(executor),
      server_(server),
      limits_(limits),
      agreement_(std::move(agreement)),
      terms_{agreement_.exported.image->size(), agreement_.structured, agreement_.block_status},
      peer_(std::move(peer)),
      output_(kOutputBytes),
      output_leaving_(kOutputBytes),
      changed_(executor) {}

asio::awaitable<void> Transmission::run() {
  try {
    while (!leaving_) {
      const bool received = co_await receive();
      if (!received) break;
      co_await serve_received();
      co_await flush();
    }
    co_await drain();
  } catch (...) {
    broken_ = true;
    if (!sending_) drop_finished();
    throw;
  }
}

void Transmission::stop() {
  stopping_ = true;
  stream_->interrupt_read();
}

asio::awaitable<bool> Transmission::receive() {
  if (stopping_) co_return false;
  try {
    const std::size_t bytes = co_await stream_->read_some(input_.room());
    input_.commit(bytes);
    co_return bytes > 0;
  } catch (const boost::system::system_error& error) {
    const bool interrupted = stopping_ && error.code() == asio::error::operation_aborted;
    if (!interrupted || broken_) throw;
    co_return false;
  }
}

// ---- requests ----

void Transmission::Input::drop(std::size_t bytes) {
  begin_ += bytes;
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (bytes_.size() - end_ < kRequestBytes) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
}

asio::awaitable<void> Transmission::serve_received() {
  while (!leaving_ && input_.view().size() >= kRequestBytes) {
    const auto request = decode_request(input_.view());
    if (!request) {
      server_.log.warn("{}: closed, what it sent is no request", peer_);
      leaving_ = true;
      co_return;
    }
    input_.drop(kRequestBytes);
    ++statistics_.requests;
    Verdict verdict = judge(*request, terms_);
    const bool has_work = verdict.action <= Action::kPrefetch;
    if (stopping_ && has_work) verdict = {Action::kFail, Status::kShutdown, 0, "the server is being stopped"};
    // The common case, without a coroutine of its own.
    const bool quick = verdict.action == Action::kRead && fits_in_output(*request);
    if (quick && serve_from_memory(*request, {request->offset, request->length}, true)) {
      note_read(*request, true);
      continue;
    }
    co_await serve(*request, verdict);
  }
  // Left at the start of the buffer, a part of a request always has room for its rest.
}

bool Transmission::fits_in_output(const Request& request) const {
  return request.length <= kPieceBytes &&
         output_.has_room(read_header_bytes(terms_.structured) + request.length);
}

asio::awaitable<void> Transmission::serve(Request request, Verdict verdict) {
  switch (verdict.action) {
    case Action::kRead:
      co_await serve_read(request);
      break;
    case Action::kBlockStatus:
    case Action::kPrefetch: {
      auto job = std::make_unique<Job>();
      job->request = request;
      job->action = verdict.action;
      job->structured = terms_.structured;
      job->range = {request.offset, request.length};
      co_await enqueue(std::move(job));
      break;
    }
    case Action::kSucceed:
      co_await send_plain(request, Status::kNone, {});
      break;
    case Action::kFail:
      co_await skip(verdict.skip_bytes);
      co_await send_plain(request, verdict.status, verdict.message);
      break;
    case Action::kDisconnect:
      leaving_ = true;
      break;
    case Action::kClose:
      server_.log.warn("{}: closed, {}", peer_, verdict.message);
      leaving_ = true;
      break;
  }
}

asio::awaitable<void> Transmission::serve_read(Request request) {
  // Only chunks can tell of an error behind bytes that have left: anything else must be whole before its
  // first byte leaves.
  const bool fragment = terms_.structured && (request.flags & kFlagDontFragment) == 0;
  if (fragment && request.length >= kSharedBytesMin) {
    co_await serve_large_read(request);
    co_return;
  }
  const std::uint64_t piece_bytes = fragment ? kPieceBytes : request.length;
  // One more than there are pieces, so that no job ends the reply before this function has looked at all of
  // them.
  const auto pieces = std::make_shared<Pieces>(divide_up(request.length, piece_bytes) + 1);
  bool all_from_memory = true;
  for (std::uint64_t at = 0; at < request.length; at += piece_bytes) {
    const ByteRange range{request.offset + at, std::min<std::uint64_t>(piece_bytes, request.length - at)};
    if (range.length <= kPieceBytes) {
      co_await make_room(read_header_bytes(terms_.structured) + range.length);
      const bool last = all_from_memory && range.end() == request.offset + request.length;
      if (serve_from_memory(request, range, last)) {
        --pieces->left;
        continue;
      }
    }
    all_from_memory = false;
    auto job = std::make_unique<Job>();
    job->request = request;
    job->structured = terms_.structured;
    job->range = range;
    job->pieces = pieces;
    co_await enqueue(std::move(job));
  }
  if (--pieces->left == 0 && !all_from_memory && terms_.structured) end_in_order(request);
  note_read(request, all_from_memory);
}

/// All of its pieces are jobs: those done here leave in order.
asio::awaitable<void> Transmission::serve_large_read(Request request) {
  const auto pieces = std::make_shared<Pieces>(divide_up(request.length, kPieceBytes) + 1);
  bool all_from_memory = true;
  for (std::uint64_t at = 0; at < request.length; at += kPieceBytes) {
    auto job = std::make_unique<Job>();
    job->request = request;
    job->structured = true;
    job->shares = true;
    job->range = {request.offset + at, std::min<std::uint64_t>(kPieceBytes, request.length - at)};
    job->pieces = pieces;
    co_await admit(*job);
    if (broken_) settle(*job);
    check_unbroken();
    if (try_job(*job, *agreement_.exported.image)) {
      const bool last = job->range.end() == request.offset + request.length;
      if (last && all_from_memory) job->end_reply();
      --pieces->left;
      finished_.push_back(std::move(job));
    } else {
      all_from_memory = false;
      post(std::move(job));
    }
  }
  if (--pieces->left == 0 && !all_from_memory) end_in_order(request);
  note_read(request, all_from_memory);
}

void Transmission::note_read(const Request& request, bool from_memory) {
  const ByteRange ahead =
      read_ahead_.note({request.offset, request.length}, from_memory, terms_.export_bytes);
  if (ahead.length > 0) fetch_ahead(ahead);
}

void Transmission::fetch_ahead(ByteRange range) {
  for (std::uint64_t at = range.offset; at < range.end(); at += kAheadPartBytes) {
    const ByteRange part{at, std::min(kAheadPartBytes, range.end() - at)};
    const Claim claim{1, part.length};
    if (!server_.budget.try_take(claim)) return;  // others wait for what they have asked for
    asio::post(server_.workers, [self = shared_from_this(), part, claim] {
      try {
        if (!self->broken_) self->agreement_.exported.image->prefetch(part.offset, part.length);
      } catch (const std::exception&) {
        // The client may never come for it. If it does, its request meets the same, and is what is reported.
      }
      self->server_.budget.give_back(claim);
    });
  }
}

/// Ends a reply whose chunks are all on their way: behind those of workers, which leave after the output's.
void Transmission::end_in_order(const Request& request) {
  auto end = std::make_unique<Job>();
  end->small = plain_reply(true, request.cookie, Status::kNone, {});
  ++jobs_;
  finished_.push_back(std::move(end));
}

bool Transmission::serve_from_memory(const Request& request, ByteRange range, bool last) {
  const std::size_t header_bytes = read_header_bytes(terms_.structured);
  const ByteSpan buffer = output_.room(header_bytes + range.length);
  try {
    if (!agreement_.exported.image->try_read(range.offset, buffer.subspan(header_bytes))) return false;
  } catch (const std::exception&) {
    return false;  // a worker will meet the same, and report it
  }
  if (!terms_.structured) {
    encode_simple_reply(buffer.data(), Status::kNone, request.cookie);
    output_.commit(buffer.size());
    return true;
  }
  const bool fragment = (request.flags & kFlagDontFragment) == 0;
  const auto finished = finish_read(buffer, request.cookie, range.offset, fragment);
  if (last) mark_done(buffer.data() + finished.last_chunk);
  output_.commit(finished.bytes);
  return true;
}

asio::awaitable<void> Transmission::skip(std::uint32_t bytes) {
  while (bytes > 0) {
    const auto dropped = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, input_.view().size()));
    input_.drop(dropped);
    bytes -= dropped;
    if (bytes == 0) co_return;
    const bool received = co_await receive();
    if (!received) {
      leaving_ = true;
      co_return;
    }
  }
}

asio::awaitable<void> Transmission::send_plain(Request request, Status status, std::string_view message) {
  const Bytes reply = plain_reply(terms_.structured, request.cookie, status, message);
  co_await make_room(kPlainReplyBytesMax);
  VMPACK_ASSERT(reply.size() <= kPlainReplyBytesMax);
  std::ranges::copy(reply, output_.room(reply.size()).begin());
  output_.commit(reply.size());
}

// ---- sending ----

asio::awaitable<void> Transmission::make_room(std::size_t bytes) {
  while (!output_.has_room(bytes)) {
    co_await flush();
    check_unbroken();
    // Somebody else is sending; what they send is not what fills the output, but they will come back for it.
    if (!output_.has_room(bytes)) co_await changed_.wait();
  }
}

asio::awaitable<void> Transmission::flush() {
  if (sending_) co_return;
  sending_ = true;
  std::vector<JobPtr> jobs;
  std::vector<asio::const_buffer> buffers;
  try {
    while (!output_.view().empty() || !finished_.empty()) {
      check_unbroken();
      std::swap(output_, output_leaving_);
      const auto count = static_cast<std::ptrdiff_t>(std::min(finished_.size(), kJobsAtOnce));
      jobs.assign(std::make_move_iterator(finished_.begin()),
                  std::make_move_iterator(finished_.begin() + count));
      finished_.erase(finished_.begin(), finished_.begin() + count);
      buffers.clear();
      const ByteView output = output_leaving_.view();
      if (!output.empty()) buffers.emplace_back(output.data(), output.size());
      for (const JobPtr& job : jobs)
        job->for_each_part([&](ByteView part) { buffers.emplace_back(part.data(), part.size()); });
      for (const auto& buffer : buffers) statistics_.bytes_sent += buffer.size();
      co_await stream_->write(buffers);
      output_leaving_.clear();
      for (const JobPtr& job : jobs) settle(*job);
      jobs.clear();
      changed_.notify();
    }
  } catch (...) {
    broken_ = true;
    for (const JobPtr& job : jobs) settle(*job);
    drop_finished();
    sending_ = false;
    changed_.notify();
    throw;
  }
  sending_ = false;
}

void Transmission::drop_finished() {
  for (const JobPtr& job : finished_) settle(*job);
  finished_.clear();
}

asio::awaitable<void> Transmission::flush_in_background() {
  try {
    co_await flush();
  } catch (const std::exception&) {
    // run() may be waiting for the client's next request: it has to learn that there is no client any more.
    stream_->interrupt_read();
  }
}

asio::awaitable<void> Transmission::drain() {
  for (;;) {
    co_await flush();
    check_unbroken();
    if (jobs_ == 0 && !sending_) co_return;
    co_await changed_.wait();
  }
}

void Transmission::check_unbroken() const {
  if (broken_) throw boost::system::system_error(asio::error::connection_aborted);
}

// ---- workers ----

asio::awaitable<void> Transmission::enqueue(JobPtr job) {
  co_await admit(*job);
  post(std::move(job));
  check_unbroken();
}

asio::awaitable<void> Transmission::admit(Job& job) {
  job.reply_bytes_max = reply_bytes_max(job);
  const auto full = [&] {
    return jobs_ >= limits_.connection_requests_in_flight ||
           (jobs_ > 0 && job_bytes_ + job.reply_bytes_max > limits_.connection_bytes_in_flight);
  };
  while (full()) {
    co_await flush();
    check_unbroken();
    // Sending may have settled the last job there was: then nobody would be left to end the wait.
    if (full()) co_await changed_.wait();
  }
  // Only what goes beyond the connection's own reserve has to be asked for: others that take no data cannot
  // stop this one.
  const auto beyond = [&](std::uint64_t bytes) {
    return bytes - std::min(bytes, limits_.connection_bytes_reserved);
  };
  job.claim.bytes = beyond(job_bytes_ + job.reply_bytes_max) - beyond(job_bytes_);
  job.claim.requests = jobs_ < limits_.connection_requests_reserved ? 0 : 1;
  ++jobs_;
  job_bytes_ += job.reply_bytes_max;
  const bool asks = job.claim.requests > 0 || job.claim.bytes > 0;
  if (asks && !server_.budget.try_take(job.claim)) {
    co_await flush();
    co_await take(server_.budget, job.claim);
  }
}

void Transmission::post(JobPtr job) {
  asio::post(server_.workers,
             [self = shared_from_this(), job = std::move(job)]() mutable { self->work(std::move(job)); });
}

void Transmission::work(JobPtr job) {
  if (!broken_ && !run_job(*job, *agreement_.exported.image)) {
    post(std::move(job));
    return;
  }
  bool first = false;
  {
    const std::scoped_lock lock(done_mutex_);
    first = done_.empty();
    done_.push_back(std::move(job));
  }
  // Whoever comes later is collected with the first.
  if (first) asio::post(executor_, [self = shared_from_this()] { self->collect(); });
}

void Transmission::collect() {
  std::vector<JobPtr> done;
  {
    const std::scoped_lock lock(done_mutex_);
    done.swap(done_);
  }
  for (JobPtr& job : done) {
    if (!job->fault.empty()) report(job->request, job->fault);
    if (broken_) {
      settle(*job);
      continue;
    }
    if (job->pieces && --job->pieces->left == 0 && job->structured) job->end_reply();
    finished_.push_back(std::move(job));
  }
  changed_.notify();
  if (!sending_ && !finished_.empty()) {
    asio::co_spawn(
        executor_, [self = shared_from_this()] { return self->flush_in_background(); }, asio::detached);
  }
}

void Transmission::settle(const Job& job) {
  server_.budget.give_back(job.claim);
  job_bytes_ -= job.reply_bytes_max;
  --jobs_;
}

void Transmission::report(const Request& request, std::string_view fault) {
  ++statistics_.failures;
  const auto now = std::chrono::steady_clock::now();
  if (fault == last_fault_ && now - last_fault_time_ < kFaultQuiet) return;
  last_fault_ = fault;
  last_fault_time_ = now;
  server_.log.error("{}: {}: cannot {} {} bytes at {}: {}", peer_, agreement_.exported.name,
                    to_string(request.command), request.length, request.offset, fault);
}

}  // namespace vmpack::nbd
