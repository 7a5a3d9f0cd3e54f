// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/reply.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "libvmpack/base/error.hpp"

namespace vmpack::nbd {
namespace {

constexpr std::size_t kScanBytes = 4096;
static_assert(kHoleBytesMin % kScanBytes == 0 && kHoleBytesMin > 2 * kDataChunkHeaderBytes);

/// Length of the run of zeros at `data`'s start, in whole blocks of `offset`'s alignment and the ends of the
/// range.
std::size_t zero_run(ByteView data, std::uint64_t offset) {
  std::size_t run = 0;
  while (run < data.size()) {
    const std::size_t block =
        std::min<std::size_t>(kScanBytes - (offset + run) % kScanBytes, data.size() - run);
    if (!is_zero(data.subspan(run, block))) break;
    run += block;
  }
  return run;
}

/// Writes chunks from the front of the buffer that also holds their data, further back.
class ChunkWriter {
 public:
  ChunkWriter(ByteSpan buffer, std::uint64_t cookie) : buffer_(buffer), cookie_(cookie) {}

  void data(std::size_t from, std::uint64_t offset, std::size_t bytes) {
    std::byte* const chunk = begin(kDataChunkHeaderBytes + bytes);
    VMPACK_ASSERT(chunk + kDataChunkHeaderBytes <= buffer_.data() + from);
    std::memmove(chunk + kDataChunkHeaderBytes, buffer_.data() + from, bytes);
    encode_data_chunk_header(chunk, 0, cookie_, offset, static_cast<std::uint32_t>(bytes));
  }
  void hole(std::uint64_t offset, std::size_t bytes) {
    encode_hole_chunk(begin(kHoleChunkBytes), 0, cookie_, offset, static_cast<std::uint32_t>(bytes));
  }
  [[nodiscard]] const FinishedRead& finished() const { return finished_; }

 private:
  std::byte* begin(std::size_t bytes) {
    finished_.last_chunk = finished_.bytes;
    finished_.bytes += bytes;
    VMPACK_ASSERT(finished_.bytes <= buffer_.size());
    return buffer_.data() + finished_.last_chunk;
  }

  ByteSpan buffer_;
  std::uint64_t cookie_;
  FinishedRead finished_;
};

}  // namespace

FinishedRead finish_read(ByteSpan buffer, std::uint64_t cookie, std::uint64_t offset, bool fragment) {
  const ByteView data = buffer.subspan(kDataChunkHeaderBytes);
  ChunkWriter chunks(buffer, cookie);
  // All zeros: one hole at any length, as long as it is no larger than what it stands for.
  const std::size_t leading = zero_run(data, offset);
  if (leading == data.size() && data.size() >= kHoleChunkBytes) {
    chunks.hole(offset, data.size());
    return chunks.finished();
  }
  std::size_t data_start = 0;  // of the data that no chunk holds yet
  std::size_t at = 0;
  while (fragment && at < data.size()) {
    const std::size_t run = at == 0 ? leading : zero_run(data.subspan(at), offset + at);
    if (run >= kHoleBytesMin) {
      if (at > data_start)
        chunks.data(kDataChunkHeaderBytes + data_start, offset + data_start, at - data_start);
      chunks.hole(offset + at, run);
      data_start = at + run;
    }
    at += run;
    if (at < data.size())
      at += std::min<std::size_t>(kScanBytes - (offset + at) % kScanBytes, data.size() - at);
  }
  if (data_start < data.size()) {
    chunks.data(kDataChunkHeaderBytes + data_start, offset + data_start, data.size() - data_start);
  }
  return chunks.finished();
}

namespace {

/// More pieces than this are cheaper to copy than to send one by one.
constexpr std::size_t kSharedPiecesMax = 32;
/// What is held until a reply has left, against what is sent of it.
constexpr std::uint64_t kHeldTimesMax = 4;

constexpr std::array<std::byte, kHoleBytesMin> kZeros{};

bool is_hole(const ImagePiece& piece) { return !piece.frame && piece.length >= kHoleBytesMin; }

}  // namespace

bool is_worth_sharing(std::span<const ImagePiece> pieces, std::uint64_t bytes) {
  if (pieces.size() > kSharedPiecesMax) return false;
  std::uint64_t held = 0;
  const DecodedFrame* last = nullptr;
  for (const ImagePiece& piece : pieces) {
    if (piece.frame && piece.frame.get() != last) held += piece.frame->bytes.size();
    last = piece.frame.get();
  }
  return held <= kHeldTimesMax * bytes;
}

SharedRead share_read(std::span<const ImagePiece> pieces, std::uint64_t cookie, std::uint64_t offset) {
  SharedRead reply;
  // Parts point into it.
  reply.headers.resize(pieces.size() * std::max(kDataChunkHeaderBytes, kHoleChunkBytes));
  std::size_t used = 0;
  const auto begin_chunk = [&](std::size_t bytes) {
    std::byte* const chunk = reply.headers.data() + used;
    reply.last_chunk = used;
    used += bytes;
    reply.parts.emplace_back(chunk, bytes);
    return chunk;
  };
  for (std::size_t i = 0; i < pieces.size();) {
    if (is_hole(pieces[i])) {
      encode_hole_chunk(begin_chunk(kHoleChunkBytes), 0, cookie, offset,
                        static_cast<std::uint32_t>(pieces[i].length));
      offset += pieces[i++].length;
      continue;
    }
    std::byte* const header = begin_chunk(kDataChunkHeaderBytes);
    std::uint32_t bytes = 0;
    for (; i < pieces.size() && !is_hole(pieces[i]); ++i) {
      const std::byte* const data = pieces[i].frame ? pieces[i].data : kZeros.data();
      reply.parts.emplace_back(data, pieces[i].length);
      bytes += static_cast<std::uint32_t>(pieces[i].length);
    }
    encode_data_chunk_header(header, 0, cookie, offset, bytes);
    offset += bytes;
  }
  return reply;
}

Bytes plain_reply(bool structured, std::uint64_t cookie, Status status, std::string_view message) {
  if (structured && status != Status::kNone) return encode_error_chunk(kChunkDone, cookie, status, message);
  Bytes reply(structured ? kChunkHeaderBytes : kSimpleReplyBytes);
  if (structured) {
    encode_chunk_header(reply.data(), Chunk::kNone, kChunkDone, cookie, 0);
  } else {
    encode_simple_reply(reply.data(), status, cookie);
  }
  return reply;
}

bool append_extents(std::vector<Extent>& extents, const std::vector<AllocationRun>& runs,
                    std::uint64_t length_max) {
  // The wire has 32 bits for a length. Sectors keep the next extent aligned.
  constexpr std::uint64_t kExtentBytesMax =
      std::numeric_limits<std::uint32_t>::max() / kSectorBytes * kSectorBytes;
  std::uint64_t total = 0;
  for (const Extent& extent : extents) total += extent.length;
  for (const AllocationRun& run : runs) {
    const std::uint32_t state = run.zero ? kStateHole | kStateZero : 0;
    std::uint64_t rest = std::min(run.length, length_max - total);
    total += rest;
    while (rest > 0) {
      const bool joins =
          !extents.empty() && extents.back().state == state && extents.back().length < kExtentBytesMax;
      if (!joins) {
        if (extents.size() == kExtentsMax) return false;
        extents.push_back({0, state});
      }
      const std::uint64_t part = std::min(rest, kExtentBytesMax - extents.back().length);
      extents.back().length += static_cast<std::uint32_t>(part);
      rest -= part;
    }
    if (total == length_max) return false;
  }
  return true;
}

}  // namespace vmpack::nbd
