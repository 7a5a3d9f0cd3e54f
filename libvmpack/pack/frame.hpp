// SPDX-License-Identifier: Apache-2.0
// Frames: objects compressed together. The unit of reading, caching, verifying and moving. Format:
// formats/pack.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/object_class.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Objects start at multiples of this in a decoded frame, zeros between, so that a sector of the image never
/// needs two.
inline constexpr std::uint64_t kObjectAlignment = kSectorBytes;

enum class Codec : std::uint8_t { kStored = 0, kZstd = 1 };

/// A delta frame is compressed against at most this many others, so that reading it costs at most three
/// reads. The format has room for more.
inline constexpr std::size_t kDeltaBasesMax = 2;

/// A frame as it is stored: head, digests of bases, payload, and the digest over all of it.
struct EncodedFrame {
  FrameDigest digest;
  ObjectClass object_class = ObjectClass::kOpaque;
  Codec codec = Codec::kStored;
  std::uint32_t raw_bytes = 0;
  std::uint32_t object_count = 0;
  Bytes stored;
  std::vector<FrameDigest> bases;  ///< of a delta frame
};

/// Leaves elements as they are where it would set them to zero: memory that is about to be filled.
template <typename T>
struct UninitializedAllocator : std::allocator<T> {
  template <typename Other>
  struct rebind {
    using other = UninitializedAllocator<Other>;
  };
  template <typename Other>
  void construct(Other* at) {
    ::new (static_cast<void*>(at)) Other;
  }
  template <typename Other, typename... Arguments>
  void construct(Other* at, Arguments&&... arguments) {
    std::construct_at(at, std::forward<Arguments>(arguments)...);
  }
};
using FrameBytes = std::vector<std::byte, UninitializedAllocator<std::byte>>;

/// A frame's objects, each at its aligned offset.
struct DecodedFrame {
  ObjectClass object_class = ObjectClass::kOpaque;
  std::uint32_t object_count = 0;
  std::vector<FrameDigest> bases;  ///< of a delta frame
  FrameBytes bytes;
};
using FramePtr = std::shared_ptr<const DecodedFrame>;

/// A frame that another one is compressed against. Never a delta frame itself.
struct FrameBase {
  FrameDigest digest;
  FramePtr frame;
};

/// Hands out a base by its digest; throws what reading it throws.
using BaseReader = std::function<FramePtr(const FrameDigest& base)>;

/// Compresses with zstd at `level` where that saves at least 3 %, and stores as is where it does not. `raw`
/// holds the objects at their aligned offsets. The same input gives the same bytes (for one version of zstd).
/// Any thread.
[[nodiscard]] EncodedFrame encode_frame(ObjectClass object_class, std::uint32_t object_count, ByteView raw,
                                        int level);

/// A delta frame: compressed as what changed against the bytes of `bases` (1 to kDeltaBasesMax), one behind
/// the other. Always zstd, whether that pays or not.
[[nodiscard]] EncodedFrame encode_delta_frame(ObjectClass object_class, std::uint32_t object_count,
                                              ByteView raw, int level, std::span<const FrameBase> bases);

/// Checks that `stored` has the digest `expected`, then decodes; a delta frame with what `read_base` hands
/// out. Without `read_base` a delta frame is damage: that is how bases are read, which are none themselves.
/// `where` names the file for errors. Throws kDamaged (wrong digest, undecodable), kUnsupported (version,
/// codec, cipher, feature), kLimit. Any thread.
[[nodiscard]] FramePtr decode_frame(ByteView stored, const FrameDigest& expected, std::string_view where,
                                    const BaseReader& read_base = {});

/// Takes a frame as it is stored, to move it elsewhere: checks digest and head as decode_frame() does, and
/// leaves the payload alone. Any thread.
[[nodiscard]] EncodedFrame take_frame(Bytes stored, const FrameDigest& expected, std::string_view where);

/// As decode_frame(), for a frame that was taken: its digest is not checked again.
[[nodiscard]] FramePtr decode_taken_frame(const EncodedFrame& frame, std::string_view where,
                                          const BaseReader& read_base);

}  // namespace vmpack
