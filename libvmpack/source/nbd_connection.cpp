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

struct StatusState {
  std::vector<std::uint32_t> entries;  // length and flags, in turn
  bool answered = false;
  int error_number = 0;
};

int extents_arrived(void* data, const char* context, std::uint64_t, std::uint32_t* entries, std::size_t count,
                    int*) {
  auto* state = static_cast<StatusState*>(data);
  if (std::strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 && state->entries.empty()) {
    state->entries.assign(entries, entries + count);
  }
  return 0;
}

int status_answered(void* data, int* error) {
  auto* state = static_cast<StatusState*>(data);
  state->answered = true;
  state->error_number = *error;
  return 1;
}

}  // namespace

void NbdConnection::Close::operator()(nbd_handle* handle) const { ::nbd_close(handle); }

NbdConnection::NbdConnection(const NbdEndpoint& endpoint, milliseconds timeout, const StillThere& still_there)
    : handle_(::nbd_create()), still_there_(still_there) {
  if (!handle_) throw NbdFailure(last_error(), true);
  nbd_handle* handle = handle_.get();
  int failed = ::nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION);
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
  drive(steady_clock::now() + timeout, [&] { return ::nbd_aio_is_ready(handle) == 1; });

  const std::int64_t size = ::nbd_get_size(handle);
  if (size < 0) lose(last_error());
  size_ = static_cast<std::uint64_t>(size);
  multi_connection_ = ::nbd_can_multi_conn(handle) == 1;
  has_block_status_ = ::nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
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
    try {
      if (!step(std::min(left, kTick))) still_there_();
    } catch (const NbdFailure&) {
      // The process's own words, if it has ended, say more than "connection reset".
      still_there_();
      throw;
    } catch (...) {
      handle_.reset();
      throw;
    }
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
      if (::nbd_aio_pread(handle_.get(), into.data() + asked, count, at, answered, 0) < 0) lose(last_error());
      asked += count;
    }
    if (state.error_number != 0) asked = into.size();  // only those under way are still waited for
    const std::uint64_t before = state.answered;
    drive(steady_clock::now() + kSilenceMax,
          [&] { return state.in_flight == 0 || state.answered != before; });
  }
  if (state.error_number != 0) {
    throw NbdFailure(fmt::format("at offset {}: {}", state.error_offset,
                                 std::generic_category().message(state.error_number)),
                     false);
  }
}

std::uint64_t NbdConnection::data_status(std::uint64_t offset, std::uint64_t length,
                                         const std::function<void(std::uint64_t, std::uint64_t)>& add) {
  VMPACK_ASSERT(length > 0 && length <= kStatusBytesMax);
  StatusState state;
  const nbd_extent_callback extents{extents_arrived, &state, nullptr};
  const nbd_completion_callback answered{status_answered, &state, nullptr};
  if (::nbd_aio_block_status(handle_.get(), length, offset, extents, answered, 0) < 0) lose(last_error());
  drive(steady_clock::now() + kSilenceMax, [&] { return state.answered; });
  if (state.error_number != 0) {
    throw NbdFailure(
        fmt::format("at offset {}: {}", offset, std::generic_category().message(state.error_number)), false);
  }
  std::uint64_t at = offset;
  const std::uint64_t end = offset + length;
  for (std::size_t i = 0; i + 1 < state.entries.size() && at < end; i += 2) {
    // The last extent may reach behind what was asked for.
    const std::uint64_t extent_end = std::min<std::uint64_t>(at + state.entries[i], end);
    if ((state.entries[i + 1] & LIBNBD_STATE_ZERO) == 0) add(at, extent_end);
    at = extent_end;
  }
  if (at == offset) lose(fmt::format("the server describes nothing at offset {}", offset));
  return at;
}

}  // namespace vmpack
