// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/pack/frame.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <new>

#include "formats/pack_generated.h"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::uint8_t kFrameVersion = 1;
constexpr std::uint8_t kDictionaryFlag = 1;
constexpr int kWindowLogMin = 10;  // zstd's least
static_assert(sizeof(fb::FrameHead) == 16);

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

/// Contexts are large and slow to make: one a thread.
ZSTD_CCtx* compressor() {
  static thread_local const std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  VMPACK_ASSERT(context != nullptr);
  return context.get();
}
ZSTD_DCtx* decompressor() {
  static thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  VMPACK_ASSERT(context != nullptr);
  return context.get();
}

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "run 'vmpack verify' to see what it affects, and restore the file from a copy of the repository"};
}

/// Refuses what this version cannot decode, by name.
void check_head(const fb::FrameHead& head, std::string_view where) {
  if (head.version() != kFrameVersion) throw_unknown_version(where, head.version());
  if (head.codec() > static_cast<std::uint8_t>(Codec::kZstd)) {
    throw_unknown_feature(where, fmt::format("codec {}", head.codec()));
  }
  if (head.checksum() != 0) throw_unknown_feature(where, fmt::format("checksum {}", head.checksum()));
  if (head.cipher() != 0) throw_unknown_feature(where, fmt::format("cipher {}", head.cipher()));
  if ((head.flags() & kDictionaryFlag) != 0) throw_unknown_feature(where, "dictionary");
  if (head.flags() != 0) throw_unknown_feature(where, fmt::format("frame flags {:#x}", head.flags()));
  if (head.base_count() > limits::kFrameBasesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} holds a frame against {} others, over the limit of {}",
                                               where, head.base_count(), limits::kFrameBasesMax));
  }
  if (head.raw_bytes() > limits::kFrameRawBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} holds a frame of {} bytes, over the limit of {}", where,
                                               head.raw_bytes(), limits::kFrameRawBytesMax));
  }
}

/// Where a frame is compressed to: large enough for any.
Bytes& compression_buffer() {
  static thread_local Bytes buffer(ZSTD_compressBound(limits::kFrameRawBytesMax));
  return buffer;
}

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  VMPACK_ASSERT(ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0);
}

/// Where short matches are many: in code and tables, not in text.
bool has_short_matches(ObjectClass object_class) {
  return object_class == ObjectClass::kExecutable || object_class == ObjectClass::kData ||
         object_class == ObjectClass::kFsMetadata;
}

/// A context for a new frame. At level 2 code and tables are searched for shorter matches than zstd does, in
/// a larger table: most of what level 3 gains, at a fifth of its price (docs/decisions/0011-likeness.md).
ZSTD_CCtx* compressor_for(ObjectClass object_class, int level) {
  ZSTD_CCtx* context = compressor();
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  set(context, ZSTD_c_compressionLevel, level);
  if (level == 2 && has_short_matches(object_class)) {
    set(context, ZSTD_c_minMatch, 4);
    set(context, ZSTD_c_chainLog, 15);
  }
  return context;
}

/// Fills in `stored` and the digest behind it.
void finish_frame(EncodedFrame& frame, ByteView payload) {
  const fb::FrameHead head(kFrameVersion, static_cast<std::uint8_t>(frame.codec), 0, 0,
                           static_cast<std::uint8_t>(frame.object_class), 0,
                           static_cast<std::uint8_t>(frame.bases.size()), 0, frame.raw_bytes,
                           frame.object_count);
  frame.stored.reserve(sizeof(head) + frame.bases.size() * kDigestBytes + payload.size());
  append(frame.stored, struct_bytes(head));
  for (const FrameDigest& base : frame.bases) append(frame.stored, std::as_bytes(std::span(base.bytes)));
  append(frame.stored, payload);
  frame.digest = FrameDigest(sha256(frame.stored));
}

/// The bytes of all bases, one behind the other. Valid until this thread's next call.
ByteView joined(std::span<const FramePtr> bases, std::string_view where) {
  static thread_local Bytes bytes;
  bytes.clear();
  for (const FramePtr& base : bases) {
    if (!base->bases.empty()) throw damaged(where, "a delta frame stands on another one");
    if (bytes.size() + base->bytes.size() > limits::kDeltaPrefixBytesMax) {
      throw Error(ErrorCode::kLimit, fmt::format("{} holds a delta frame on too many bytes", where));
    }
    append(bytes, base->bytes);
  }
  return bytes;
}

void decompress(ByteView payload, ByteView prefix, ByteSpan into, std::string_view where) {
  ZSTD_DCtx* context = decompressor();
  ZSTD_DCtx_reset(context, ZSTD_reset_session_only);
  if (ZSTD_isError(ZSTD_DCtx_refPrefix(context, prefix.data(), prefix.size())) != 0) throw std::bad_alloc();
  const std::size_t size =
      ZSTD_decompressDCtx(context, into.data(), into.size(), payload.data(), payload.size());
  if (ZSTD_isError(size) != 0 || size != into.size()) throw damaged(where, "zstd cannot decode it");
}

}  // namespace

EncodedFrame encode_frame(ObjectClass object_class, std::uint32_t object_count, ByteView raw, int level) {
  VMPACK_ASSERT(raw.size() <= limits::kFrameRawBytesMax);
  EncodedFrame frame;
  frame.object_class = object_class;
  frame.raw_bytes = static_cast<std::uint32_t>(raw.size());
  frame.object_count = object_count;
  Bytes& compressed = compression_buffer();
  const std::size_t size = ZSTD_compress2(compressor_for(object_class, level), compressed.data(),
                                          compressed.size(), raw.data(), raw.size());
  VMPACK_ASSERT(ZSTD_isError(size) == 0);
  frame.codec = size <= raw.size() - raw.size() / 32 ? Codec::kZstd : Codec::kStored;
  finish_frame(frame, frame.codec == Codec::kZstd ? ByteView(compressed).first(size) : raw);
  return frame;
}

EncodedFrame encode_delta_frame(ObjectClass object_class, std::uint32_t object_count, ByteView raw, int level,
                                std::span<const FrameBase> bases) {
  VMPACK_ASSERT(raw.size() <= limits::kFrameRawBytesMax && !bases.empty() && bases.size() <= kDeltaBasesMax);
  EncodedFrame frame;
  frame.object_class = object_class;
  frame.codec = Codec::kZstd;
  frame.raw_bytes = static_cast<std::uint32_t>(raw.size());
  frame.object_count = object_count;
  std::vector<FramePtr> frames;
  for (const FrameBase& base : bases) {
    frame.bases.push_back(base.digest);
    frames.push_back(base.frame);
  }
  const ByteView prefix = joined(frames, "memory");
  ZSTD_CCtx* context = compressor_for(object_class, level);
  // The window must reach from the end of the frame back to the start of the bases.
  set(context, ZSTD_c_windowLog,
      std::max(kWindowLogMin, static_cast<int>(std::bit_width(prefix.size() + raw.size()))));
  VMPACK_ASSERT(ZSTD_isError(ZSTD_CCtx_refPrefix(context, prefix.data(), prefix.size())) == 0);
  Bytes& compressed = compression_buffer();
  const std::size_t size =
      ZSTD_compress2(context, compressed.data(), compressed.size(), raw.data(), raw.size());
  ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  VMPACK_ASSERT(ZSTD_isError(size) == 0);
  finish_frame(frame, ByteView(compressed).first(size));
  return frame;
}

namespace {

/// A stored frame's parts, after all checks of its head.
struct StoredFrame {
  fb::FrameHead head;
  std::vector<FrameDigest> bases;
  ByteView payload;
};

StoredFrame parse_frame(ByteView stored, std::string_view where) {
  constexpr std::size_t kHead = sizeof(fb::FrameHead);
  if (stored.size() < kHead) throw damaged(where, "it is shorter than a frame's head");
  StoredFrame frame{read_struct<fb::FrameHead>(stored), {}, {}};
  check_head(frame.head, where);
  const std::size_t bases_bytes = frame.head.base_count() * kDigestBytes;
  if (stored.size() < kHead + bases_bytes) throw damaged(where, "it is shorter than its head says");
  for (std::size_t i = 0; i < frame.head.base_count(); ++i) {
    FrameDigest base;
    std::memcpy(base.bytes.data(), stored.data() + kHead + i * kDigestBytes, kDigestBytes);
    frame.bases.push_back(base);
  }
  frame.payload = stored.subspan(kHead + bases_bytes);
  return frame;
}

void check_digest(ByteView stored, const FrameDigest& expected, std::string_view where) {
  if (sha256(stored) != expected) throw damaged(where, "its bytes do not match their SHA-256");
}

/// Memory of `bytes` that the kernel has mapped at once where it could: it is about to be filled, and a fault
/// for each of its pages takes nearly twice as long. Without it (before Linux 5.14) nothing but time is lost.
FrameBytes populated_bytes(std::size_t bytes) {
  constexpr std::size_t kPageBytes = 4096;
  FrameBytes memory(bytes);
#ifdef MADV_POPULATE_WRITE
  void* start = memory.data();
  std::size_t room = bytes;
  if (std::align(kPageBytes, kPageBytes, start, room) != nullptr)
    ::madvise(start, room / kPageBytes * kPageBytes, MADV_POPULATE_WRITE);
#endif
  return memory;
}

FramePtr decode_stored(StoredFrame stored, std::string_view where, const BaseReader& read_base) {
  const fb::FrameHead& head = stored.head;
  auto frame = std::make_shared<DecodedFrame>();
  frame->object_class = object_class_from(head.object_class()).value_or(ObjectClass::kOpaque);
  frame->object_count = head.object_count();
  frame->bases = std::move(stored.bases);
  std::vector<FramePtr> bases;
  if (!frame->bases.empty()) {
    if (!read_base) throw damaged(where, "a delta frame stands on another one");
    for (const FrameDigest& base : frame->bases) bases.push_back(read_base(base));
  }
  if (head.codec() == static_cast<std::uint8_t>(Codec::kStored)) {
    if (stored.payload.size() != head.raw_bytes())
      throw damaged(where, "a stored frame has another length than its head says");
    frame->bytes.assign(stored.payload.begin(), stored.payload.end());
  } else {
    frame->bytes = populated_bytes(head.raw_bytes());
    decompress(stored.payload, joined(bases, where), frame->bytes, where);
  }
  return frame;
}

}  // namespace

FramePtr decode_frame(ByteView stored, const FrameDigest& expected, std::string_view where,
                      const BaseReader& read_base) {
  check_digest(stored, expected, where);
  return decode_stored(parse_frame(stored, where), where, read_base);
}

EncodedFrame take_frame(Bytes stored, const FrameDigest& expected, std::string_view where) {
  check_digest(stored, expected, where);
  StoredFrame parsed = parse_frame(stored, where);
  EncodedFrame frame;
  frame.digest = expected;
  frame.object_class = object_class_from(parsed.head.object_class()).value_or(ObjectClass::kOpaque);
  frame.codec = static_cast<Codec>(parsed.head.codec());
  frame.raw_bytes = parsed.head.raw_bytes();
  frame.object_count = parsed.head.object_count();
  frame.bases = std::move(parsed.bases);
  frame.stored = std::move(stored);
  return frame;
}

FramePtr decode_taken_frame(const EncodedFrame& frame, std::string_view where, const BaseReader& read_base) {
  return decode_stored(parse_frame(frame.stored, where), where, read_base);
}

}  // namespace vmpack
