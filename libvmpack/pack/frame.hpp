// SPDX-License-Identifier: Apache-2.0
// Frames: objects compressed together. The unit of reading, caching, verifying and moving. Format:
// formats/pack.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
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

/// A frame as it is stored: head and payload, and the digest over both.
struct EncodedFrame {
  FrameDigest digest;
  ObjectClass object_class = ObjectClass::kOpaque;
  Codec codec = Codec::kStored;
  std::uint32_t raw_bytes = 0;
  std::uint32_t object_count = 0;
  Bytes stored;
};

/// A frame's objects, each at its aligned offset.
struct DecodedFrame {
  ObjectClass object_class = ObjectClass::kOpaque;
  std::uint32_t object_count = 0;
  Bytes bytes;
};

/// Compresses with zstd at `level` where that saves at least 3 %, and stores as is where it does not. `raw`
/// holds the objects at their aligned offsets. The same input gives the same bytes (for one version of zstd).
/// Any thread.
[[nodiscard]] EncodedFrame encode_frame(ObjectClass object_class, std::uint32_t object_count, ByteView raw,
                                        int level);

/// Checks that `stored` has the digest `expected`, then decodes. `where` names the file for errors. Throws
/// kDamaged (wrong digest, undecodable), kUnsupported (version, codec, cipher, feature), kLimit. Any thread.
[[nodiscard]] std::shared_ptr<const DecodedFrame> decode_frame(ByteView stored, const FrameDigest& expected,
                                                               std::string_view where);

}  // namespace vmpack
