// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/job.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <span>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "server/nbd/reply.hpp"

namespace vmpack::nbd {
namespace {

constexpr std::uint64_t kPrefetchStepBytes = 4 * kMiB;
/// Block status is asked for in steps, so that a client's length cannot decide how much memory is taken.
constexpr std::uint64_t kStatusStepBytes = 256 * kMiB;

void copy_pieces(std::span<const ImagePiece> pieces, ByteSpan into) {
  for (const ImagePiece& piece : pieces) {
    if (piece.frame) {
      std::memcpy(into.data(), piece.data, piece.length);
    } else {
      std::memset(into.data(), 0, piece.length);
    }
    into = into.subspan(piece.length);
  }
}

void finish_shared(Job& job, std::vector<ImagePiece> pieces) {
  if (is_worth_sharing(pieces, job.range.length)) {
    SharedRead reply = share_read(pieces, job.request.cookie, job.range.offset);
    job.held = std::move(pieces);
    job.small = std::move(reply.headers);
    job.parts = std::move(reply.parts);
    job.last_chunk = reply.last_chunk;
    return;
  }
  job.bytes = kDataChunkHeaderBytes + job.range.length;
  job.memory = std::make_unique_for_overwrite<std::byte[]>(job.bytes);
  const ByteSpan buffer(job.memory.get(), job.bytes);
  copy_pieces(pieces, buffer.subspan(kDataChunkHeaderBytes));
  const FinishedRead finished = finish_read(buffer, job.request.cookie, job.range.offset, true);
  job.bytes = finished.bytes;
  job.last_chunk = finished.last_chunk;
}

void run_shared_read(Job& job, const Image& image) {
  std::vector<ImagePiece> pieces;
  image.pieces(job.range.offset, job.range.length, pieces);
  finish_shared(job, std::move(pieces));
}

void run_read(Job& job, const Image& image) {
  const std::size_t header_bytes = read_header_bytes(job.structured);
  job.bytes = header_bytes + job.range.length;
  job.memory = std::make_unique_for_overwrite<std::byte[]>(job.bytes);
  const ByteSpan buffer(job.memory.get(), job.bytes);
  image.read(job.range.offset, buffer.subspan(header_bytes));
  if (job.structured) {
    const bool fragment = (job.request.flags & kFlagDontFragment) == 0;
    const auto finished = finish_read(buffer, job.request.cookie, job.range.offset, fragment);
    job.bytes = finished.bytes;
    job.last_chunk = finished.last_chunk;
  } else {
    encode_simple_reply(buffer.data(), Status::kNone, job.request.cookie);
  }
}

void run_block_status(Job& job, const Image& image) {
  const bool one = (job.request.flags & kFlagRequestOne) != 0;
  std::vector<Extent> extents;
  std::uint64_t at = 0;
  while (at < job.range.length) {
    const std::uint64_t step = std::min(kStatusStepBytes, job.range.length - at);
    const auto runs = image.allocation(job.range.offset + at, step);
    if (!append_extents(extents, runs, job.range.length) || (one && extents.size() > 1)) break;
    at += step;
  }
  if (one) extents.resize(1);
  job.small = encode_block_status(job.request.cookie, extents);
}

/// True when all of it has been fetched.
bool run_prefetch(Job& job, const Image& image) {
  const std::uint64_t step = std::min(kPrefetchStepBytes, job.range.length);
  image.prefetch(job.range.offset, step);
  job.range = {job.range.offset + step, job.range.length - step};
  if (job.range.length > 0) return false;
  job.small = plain_reply(job.structured, job.request.cookie, Status::kNone, {});
  return true;
}

void fail(Job& job, const char* why) {
  job.fault = why;
  job.memory.reset();
  job.parts.clear();
  job.held.clear();
  job.last_chunk = 0;
  job.small = failed_reply(job.request, job.structured, job.range.offset);
}

}  // namespace

std::uint64_t reply_bytes_max(const Job& job) {
  switch (job.action) {
    case Action::kRead:
      return read_header_bytes(job.structured) + job.range.length;
    case Action::kBlockStatus:
      return kStatusChunkHeaderBytes + kExtentsMax * sizeof(Extent);
    default:
      return kNameBytesMax;
  }
}

bool run_job(Job& job, const Image& image) {
  try {
    if (job.action == Action::kPrefetch) return run_prefetch(job, image);
    if (job.shares) {
      run_shared_read(job, image);
    } else if (job.action == Action::kRead) {
      run_read(job, image);
    } else {
      run_block_status(job, image);
    }
  } catch (const std::exception& error) {
    fail(job, error.what());
  }
  return true;
}

bool try_job(Job& job, const Image& image) {
  try {
    std::vector<ImagePiece> pieces;
    if (!image.try_pieces(job.range.offset, job.range.length, pieces)) return false;
    finish_shared(job, std::move(pieces));
    return true;
  } catch (const std::exception&) {
    return false;  // a worker will meet the same, and report it
  }
}

Bytes failed_reply(const Request& request, bool structured, std::uint64_t offset) {
  constexpr std::string_view kText = "stored data could not be read; the server's log says why";
  // A piece of a read may fail while others go well: the offset says which, and the reply's end is marked
  // later.
  if (structured && request.command == Command::kRead) {
    return encode_error_chunk(0, request.cookie, Status::kIo, kText, offset);
  }
  return plain_reply(structured, request.cookie, Status::kIo, kText);
}

}  // namespace vmpack::nbd
