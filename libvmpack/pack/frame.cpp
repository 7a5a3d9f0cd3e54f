// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/pack/frame.hpp"

#include <fmt/core.h>
#include <zstd.h>

#include "formats/pack_generated.h"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::uint8_t kFrameVersion = 1;
constexpr std::uint8_t kDictionaryFlag = 1;
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
  if (head.base_count() != 0) throw_unknown_feature(where, "delta frames");
  if (head.raw_bytes() > limits::kFrameRawBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} holds a frame of {} bytes, over the limit of {}", where,
                                               head.raw_bytes(), limits::kFrameRawBytesMax));
  }
}

}  // namespace

EncodedFrame encode_frame(ObjectClass object_class, std::uint32_t object_count, ByteView raw, int level) {
  VMPACK_ASSERT(raw.size() <= limits::kFrameRawBytesMax);
  constexpr std::size_t kHead = sizeof(fb::FrameHead);
  EncodedFrame frame;
  frame.object_class = object_class;
  frame.raw_bytes = static_cast<std::uint32_t>(raw.size());
  frame.object_count = object_count;
  static thread_local Bytes compressed(ZSTD_compressBound(limits::kFrameRawBytesMax));
  const std::size_t size =
      ZSTD_compressCCtx(compressor(), compressed.data(), compressed.size(), raw.data(), raw.size(), level);
  VMPACK_ASSERT(ZSTD_isError(size) == 0);
  frame.codec = size <= raw.size() - raw.size() / 32 ? Codec::kZstd : Codec::kStored;
  const ByteView payload = frame.codec == Codec::kZstd ? ByteView(compressed).first(size) : raw;
  frame.stored.reserve(kHead + payload.size());
  frame.stored.resize(kHead);
  append(frame.stored, payload);
  const fb::FrameHead head(kFrameVersion, static_cast<std::uint8_t>(frame.codec), 0, 0,
                           static_cast<std::uint8_t>(object_class), 0, 0, 0, frame.raw_bytes, object_count);
  std::memcpy(frame.stored.data(), &head, kHead);
  frame.digest = FrameDigest(sha256(frame.stored));
  return frame;
}

std::shared_ptr<const DecodedFrame> decode_frame(ByteView stored, const FrameDigest& expected,
                                                 std::string_view where) {
  if (sha256(stored) != expected) throw damaged(where, "its bytes do not match their SHA-256");
  constexpr std::size_t kHead = sizeof(fb::FrameHead);
  if (stored.size() < kHead) throw damaged(where, "it is shorter than a frame's head");
  const auto head = read_struct<fb::FrameHead>(stored);
  check_head(head, where);
  const ByteView payload = stored.subspan(kHead);

  auto frame = std::make_shared<DecodedFrame>();
  frame->object_class = object_class_from(head.object_class()).value_or(ObjectClass::kOpaque);
  frame->object_count = head.object_count();
  if (head.codec() == static_cast<std::uint8_t>(Codec::kStored)) {
    if (payload.size() != head.raw_bytes())
      throw damaged(where, "a stored frame has another length than its head says");
    frame->bytes.assign(payload.begin(), payload.end());
  } else {
    frame->bytes.resize(head.raw_bytes());
    const std::size_t size = ZSTD_decompressDCtx(decompressor(), frame->bytes.data(), frame->bytes.size(),
                                                 payload.data(), payload.size());
    if (ZSTD_isError(size) != 0 || size != head.raw_bytes()) throw damaged(where, "zstd cannot decode it");
  }
  return frame;
}

}  // namespace vmpack
