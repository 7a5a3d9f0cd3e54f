// SPDX-License-Identifier: Apache-2.0
// libnbd writes into the caller's buffer until a request is answered, so no method returns or throws while
// requests are under way, unless it has closed the connection first.
#include "libvmpack/source/nbd_connection.hpp"

#include <libnbd.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often waiting looks whether the server's process is still there.
constexpr milliseconds kTick{100};
// The protocol counts in 32 bits.
constexpr std::uint64_t kStatusBytes = 0xffff0000;

std::string last_error() {
  const char* text = ::nbd_get_error();
  return text != nullptr ? text : "unknown error";
}

struct ReadState {
  std::size_t in_flight = 0;
  std::uint64_t answered = 0;
  int error_number = 0;
  std::uint64_t error_offset = 0;
};
struct ReadRequest {
  ReadState* state;
  std::uint64_t offset;
};

int read_answered(void* data, int* error) {
  const auto* request = static_cast<ReadRequest*>(data);
  --request->state->in_flight;
  ++request->state->answered;
  if (*error != 0 && (request->state->error_number == 0 || request->offset < request->state->error_offset)) {
    request->state->error_number = *error;
    request->state->error_offset = request->offset;
  }
  return 1;  // libnbd forgets the request
}

int piece_arrived(void*, const void*, std::size_t, std::uint64_t, unsigned, int*) { return 0; }

}  // namespace

struct NbdConnection::StatusRequest {
  const char* context = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  std::vector<std::uint32_t> entries{};  ///< length and flags, in turn
  bool answered = false;
  int error_number = 0;

  static int arrived(void* data, const char* context, std::uint64_t, std::uint32_t* entries,
                     std::size_t count, int*) {
    auto* request = static_cast<StatusRequest*>(data);
    if (std::strcmp(context, request->context) == 0 && request->entries.empty()) {
      request->entries.assign(entries, entries + count);
    }
    return 0;
  }
  static int finished(void* data, int* error) {
    auto* request = static_cast<StatusRequest*>(data);
    request->answered = true;
    request->error_number = *error;
    return 1;
  }
};

void NbdConnection::Close::operator()(nbd_handle* handle) const { ::nbd_close(handle); }

NbdConnection::NbdConnection(const NbdEndpoint& endpoint, const NbdPatience& patience, WhyGone why_gone,
                             std::string changes_context)
    : handle_(::nbd_create()),
      patience_(patience),
      why_gone_(std::move(why_gone)),
      changes_context_(std::move(changes_context)) {
  if (!handle_) throw NbdFailure(last_error(), true);
  nbd_handle* handle = handle_.get();
  int failed = ::nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION);
  if (failed == 0 && !changes_context_.empty())
    failed = ::nbd_add_meta_context(handle, changes_context_.c_str());
  if (failed == 0 && !endpoint.uri.empty()) {
    failed = ::nbd_aio_connect_uri(handle, endpoint.uri.c_str());
  } else if (failed == 0) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    VMPACK_ASSERT(endpoint.socket_path.size() < sizeof(address.sun_path));
    std::memcpy(address.sun_path, endpoint.socket_path.data(), endpoint.socket_path.size());
    failed = ::nbd_aio_connect(handle, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  if (failed != 0) throw NbdFailure(last_error(), true);
  drive(steady_clock::now() + patience_.to_connect, [&] { return ::nbd_aio_is_ready(handle) == 1; });

  const std::int64_t size = ::nbd_get_size(handle);
  if (size < 0) lose(last_error());
  size_ = static_cast<std::uint64_t>(size);
  multi_connection_ = ::nbd_can_multi_conn(handle) == 1;
  has_block_status_ = ::nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  has_changes_ = !changes_context_.empty() && ::nbd_can_meta_context(handle, changes_context_.c_str()) == 1;
  // Whole replies. QEMU up to 7.2 drops the connection when it fails in the middle of one in pieces, and
  // looks for holes on every read before that, which we did already.
  whole_replies_ = ::nbd_can_df(handle) == 1;
  const std::int64_t smallest = ::nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
  if (smallest > 1) alignment_ = static_cast<std::uint64_t>(smallest);
  if (!std::has_single_bit(alignment_) || alignment_ > kRequestBytes) {
    lose(fmt::format("the server asks for requests of {} bytes", alignment_));
  }
  const std::int64_t largest = ::nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  if (largest > 0) {
    request_bytes_max_ =
        std::clamp(round_down(static_cast<std::uint64_t>(largest), alignment_), alignment_, kRequestBytes);
  }
}

void NbdConnection::lose(const std::string& message) {
  handle_.reset();
  throw NbdFailure(message, true);
}

// Waits for the server, and handles what it sent. False when nothing came.
bool NbdConnection::step(milliseconds timeout) {
  nbd_handle* handle = handle_.get();
  if (::nbd_aio_is_dead(handle) == 1 || ::nbd_aio_is_closed(handle) == 1) lose(last_error());
  const unsigned direction = ::nbd_aio_get_direction(handle);
  pollfd watched{::nbd_aio_get_fd(handle), 0, 0};
  if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) watched.events |= POLLIN;
  if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) watched.events |= POLLOUT;
  const int ready = ::poll(&watched, 1, static_cast<int>(timeout.count()));
  if (ready < 0 && errno != EINTR) lose(std::generic_category().message(errno));
  if (ready <= 0) return false;
  int failed = 0;
  if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (watched.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
    failed = ::nbd_aio_notify_read(handle);
  } else if ((watched.revents & (POLLOUT | POLLHUP | POLLERR)) != 0) {
    failed = ::nbd_aio_notify_write(handle);
  }
  if (failed != 0) lose(last_error());
  return true;
}

template <typename Done>
void NbdConnection::drive(steady_clock::time_point deadline, const Done& done) {
  while (!done()) {
    const auto left = duration_cast<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) lose("the server does not answer");
    if (step(std::min(left, kTick))) continue;
    if (const std::string reason = why_gone_(); !reason.empty()) lose(reason);
  }
}

void NbdConnection::read(std::uint64_t offset, ByteSpan into) {
  if (into.empty()) return;
  VMPACK_ASSERT(offset % alignment_ == 0 && into.size() % alignment_ == 0);
  ReadState state;
  std::vector<ReadRequest> requests;
  requests.reserve(into.size() / request_bytes_max_ + 2);
  std::size_t asked = 0;
  while (asked < into.size() || state.in_flight > 0) {
    while (asked < into.size() && state.in_flight < kRequestsInFlight && state.error_number == 0) {
      // Up to the next multiple, so that requests do not straddle the clusters of the image.
      const std::uint64_t at = offset + asked;
      const std::uint64_t count =
          std::min<std::uint64_t>(request_bytes_max_ - at % request_bytes_max_, into.size() - asked);
      requests.push_back({&state, at});
      const nbd_completion_callback answered{read_answered, &requests.back(), nullptr};
      ++state.in_flight;
      // Only this call takes the flag; its callback has nothing to do, the bytes are in place by then.
      const std::int64_t cookie =
          whole_replies_
              ? ::nbd_aio_pread_structured(handle_.get(), into.data() + asked, count, at,
                                           {piece_arrived, nullptr, nullptr}, answered, LIBNBD_CMD_FLAG_DF)
              : ::nbd_aio_pread(handle_.get(), into.data() + asked, count, at, answered, 0);
      if (cookie < 0) lose(last_error());
      asked += count;
    }
    if (state.error_number != 0) asked = into.size();  // only those under way are still waited for
    const std::uint64_t before = state.answered;
    drive(steady_clock::now() + patience_.to_answer,
          [&] { return state.in_flight == 0 || state.answered != before; });
  }
  if (state.error_number != 0) {
    if (::nbd_aio_is_ready(handle_.get()) != 1) lose("the server closed the connection");
    throw NbdFailure(fmt::format("at offset {}: {}", state.error_offset,
                                 std::generic_category().message(state.error_number)),
                     false);
  }
}

void NbdConnection::ask_status(StatusRequest& request) {
  const nbd_extent_callback arrived{StatusRequest::arrived, &request, nullptr};
  const nbd_completion_callback finished{StatusRequest::finished, &request, nullptr};
  const std::int64_t cookie = ::nbd_aio_block_status(handle_.get(), request.end - request.offset,
                                                     request.offset, arrived, finished, 0);
  if (cookie < 0) lose(last_error());
}

void NbdConnection::find_data(std::uint64_t offset, std::uint64_t length, const AddExtent& add) {
  find_extents(
      LIBNBD_CONTEXT_BASE_ALLOCATION, [](std::uint32_t flags) { return (flags & LIBNBD_STATE_ZERO) == 0; },
      offset, length, add);
}

void NbdConnection::find_changes(std::uint64_t offset, std::uint64_t length, const AddExtent& add) {
  // Of a bitmap 1 is dirty; of the allocation depth 0 is what no layer has.
  find_extents(changes_context_.c_str(), [](std::uint32_t flags) { return flags != 0; }, offset, length, add);
}

void NbdConnection::find_extents(const char* context, bool (*wanted)(std::uint32_t flags),
                                 std::uint64_t offset, std::uint64_t length, const AddExtent& add) {
  VMPACK_ASSERT(offset % alignment_ == 0 && length % alignment_ == 0);
  const std::uint64_t end = offset + length;
  // A server may describe less than it was asked for, so the next requests start where it stopped: those
  // under way at the same time were guesses, and what they tell about bytes that were described already is
  // passed over.
  while (offset < end) {
    std::vector<StatusRequest> requests(kRequestsInFlight);
    std::size_t asked = 0;
    for (std::uint64_t at = offset; at < end && asked < requests.size(); ++asked) {
      requests[asked].context = context;
      requests[asked].offset = at;
      at = requests[asked].end = std::min(at + kStatusBytes, end);
    }
    requests.resize(asked);
    for (StatusRequest& request : requests) ask_status(request);
    drive(steady_clock::now() + patience_.to_answer,
          [&] { return std::ranges::all_of(requests, &StatusRequest::answered); });
    for (const StatusRequest& request : requests) {
      if (request.error_number != 0) {
        if (::nbd_aio_is_ready(handle_.get()) != 1) lose("the server closed the connection");
        throw NbdFailure(
            fmt::format("at offset {}: {}", offset, std::generic_category().message(request.error_number)),
            false);
      }
      std::uint64_t at = request.offset;
      for (std::size_t i = 0; i + 1 < request.entries.size() && at < request.end; i += 2) {
        // The last extent may reach behind what was asked for.
        const std::uint64_t extent_end = std::min<std::uint64_t>(at + request.entries[i], request.end);
        if (wanted(request.entries[i + 1])) add(at, extent_end);
        at = extent_end;
      }
      if (at == request.offset) lose(fmt::format("the server describes nothing at offset {}", offset));
      // Less than anyone may ask for: the block in question counts as wanted.
      if (at % alignment_ != 0) add(at, round_up(at, alignment_));
      offset = round_up(at, alignment_);
      if (offset < request.end) break;
    }
  }
}

}  // namespace vmpack
