// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/read_ahead.hpp"

#include <algorithm>

namespace vmpack::nbd {
namespace {

/// Requests that are under way together may come in another order, and readers skip small pieces.
constexpr std::uint64_t kJumpBytesMax = 256 * kKiB;
/// So much in a row is no chance.
constexpr std::uint64_t kInRowBytesMin = 128 * kKiB;
constexpr std::uint64_t kFirstWindowBytes = 512 * kKiB;
/// After so much from memory nothing more is fetched until the client has to wait again.
constexpr std::uint64_t kKnownBytesMax = 8 * kReadAheadBytesMax;

}  // namespace

ReadAhead::Stream& ReadAhead::stream_of(ByteRange read) {
  ++clock_;
  for (Stream& stream : streams_) {
    const bool goes_on =
        read.end() + kJumpBytesMax >= stream.next && read.offset <= stream.next + kJumpBytesMax;
    if (stream.last_use > 0 && goes_on) {
      stream.last_use = clock_;
      return stream;
    }
  }
  Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::last_use);
  oldest = {.next = read.offset, .fetched = read.offset, .window = kFirstWindowBytes, .last_use = clock_};
  return oldest;
}

ByteRange ReadAhead::note(ByteRange read, bool from_memory, std::uint64_t image_bytes) {
  Stream& stream = stream_of(read);
  stream.known_bytes = from_memory ? stream.known_bytes + read.length : 0;
  if (read.end() <= stream.next) return {};
  stream.in_a_row += read.end() - stream.next;
  stream.next = read.end();
  stream.fetched = std::max(stream.fetched, stream.next);
  const bool wanted = stream.in_a_row >= kInRowBytesMin && stream.known_bytes < kKnownBytesMax;
  if (!wanted || stream.fetched - stream.next >= stream.window / 2) return {};
  const std::uint64_t end = std::min(stream.next + stream.window, image_bytes);
  const ByteRange ahead{stream.fetched, end - std::min(end, stream.fetched)};
  stream.fetched = end;
  stream.window = std::min(2 * stream.window, kReadAheadBytesMax);
  return ahead;
}

}  // namespace vmpack::nbd
