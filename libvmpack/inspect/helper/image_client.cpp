// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/image_client.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "libvmpack/inspect/image_wire.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kChunkBytes = 16 * kKiB;
constexpr std::size_t kSlots = 1024;
constexpr std::size_t kLargePageBytes = 2 * kMiB;
constexpr std::uint64_t kNoChunk = ~std::uint64_t{0};
constexpr std::uint64_t kReadAheadChunksMax = image_wire::kReadBytesMax / kChunkBytes;
/// From here on a read goes past the cache, straight to where it is wanted.
constexpr std::size_t kDirectBytes = 256 * kKiB;

// Without its parent the child has nothing to do and nobody to tell.
[[noreturn]] void parent_is_gone() { ::_exit(1); }

void send_all(int socket, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) parent_is_gone();
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void receive_all(int socket, ByteSpan into) {
  while (!into.empty()) {
    const ssize_t got = ::recv(socket, into.data(), into.size(), MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) parent_is_gone();
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

bool is_socket(int descriptor) {
  struct stat facts{};
  return ::fstat(descriptor, &facts) == 0 && S_ISSOCK(facts.st_mode);
}

/// False when it cannot be read. Behind the end of the file come zeros, up to the end of a sector.
bool read_file(int descriptor, std::uint64_t offset, ByteSpan into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || (got == 0 && into.size() >= kSectorBytes)) return false;
    if (got == 0) {
      std::ranges::fill(into, std::byte{0});
      return true;
    }
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

}  // namespace

ImageClient::ImageClient(int descriptor, ByteRange range)
    : descriptor_(descriptor),
      is_file_(!is_socket(descriptor)),
      range_(range),
      memory_(static_cast<std::byte*>(std::aligned_alloc(kLargePageBytes, kSlots * kChunkBytes))),
      chunk_of_slot_(kSlots, kNoChunk) {
  if (memory_ == nullptr) throw std::bad_alloc();
  // Thousands of page faults would take longer than the bytes themselves. A wish: all works without.
  ::madvise(memory_.get(), kSlots * kChunkBytes, MADV_HUGEPAGE);
}

void ImageClient::set_range(ByteRange range) {
  range_ = range;
  slot_of_chunk_.clear();
}

bool ImageClient::fetch(std::uint64_t offset, ByteSpan into) {
  if (is_file_) return read_file(descriptor_, range_.offset + offset, into);
  const image_wire::Request request{range_.offset + offset, static_cast<std::uint32_t>(into.size()), 0};
  send_all(descriptor_, struct_bytes(request));
  image_wire::Reply reply;
  receive_all(descriptor_, std::as_writable_bytes(std::span(&reply, 1)));
  if (reply.failed != 0 || reply.length != into.size()) return false;
  receive_all(descriptor_, into);
  return true;
}

ByteView ImageClient::chunk_in_slot(std::size_t slot) const {
  const std::uint64_t start = chunk_of_slot_[slot] * kChunkBytes;
  return {memory_.get() + slot * kChunkBytes, std::min(kChunkBytes, range_.length - start)};
}

ByteView ImageClient::chunk(std::uint64_t number) {
  if (const auto found = slot_of_chunk_.find(number); found != slot_of_chunk_.end()) {
    return chunk_in_slot(found->second);
  }
  read_ahead_chunks_ = number == expected_chunk_ ? std::min(read_ahead_chunks_ * 2, kReadAheadChunksMax) : 1;
  const std::size_t first = next_slot_;
  const std::uint64_t chunks_left = divide_up(range_.length, kChunkBytes) - number;
  const auto wanted = std::min({read_ahead_chunks_, chunks_left, static_cast<std::uint64_t>(kSlots - first)});
  for (std::size_t slot = first; slot < first + wanted; ++slot) {
    if (const auto old = slot_of_chunk_.find(chunk_of_slot_[slot]);
        old != slot_of_chunk_.end() && old->second == slot) {
      slot_of_chunk_.erase(old);
    }
  }
  const std::uint64_t start = number * kChunkBytes;
  const std::uint64_t length = std::min(wanted * kChunkBytes, range_.length - start);
  if (!fetch(start, {memory_.get() + first * kChunkBytes, length})) {
    if (wanted == 1) return {};
    expected_chunk_ = kNoChunk;  // what lies ahead may be unreadable; what was asked for need not be
    return chunk(number);
  }
  for (std::size_t i = 0; i < wanted; ++i) {
    chunk_of_slot_[first + i] = number + i;
    slot_of_chunk_.insert_or_assign(number + i, first + i);
  }
  next_slot_ = (first + wanted) % kSlots;
  expected_chunk_ = number + wanted;
  return chunk_in_slot(first);
}

bool ImageClient::read(std::uint64_t offset, ByteSpan into) {
  if (offset > range_.length || into.size() > range_.length - offset) return false;
  if (into.size() >= kDirectBytes) {
    for (std::size_t done = 0; done < into.size();) {
      const auto part =
          into.subspan(done, std::min<std::size_t>(image_wire::kReadBytesMax, into.size() - done));
      if (!fetch(offset + done, part)) return false;
      done += part.size();
    }
    return true;
  }
  while (!into.empty()) {
    ByteView cached = chunk(offset / kChunkBytes);
    if (cached.empty()) return false;
    cached = cached.subspan(offset % kChunkBytes);
    const std::size_t part = std::min(into.size(), cached.size());
    std::memcpy(into.data(), cached.data(), part);
    into = into.subspan(part);
    offset += part;
  }
  return true;
}

}  // namespace vmpack
