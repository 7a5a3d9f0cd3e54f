// SPDX-License-Identifier: Apache-2.0
// The first 64 bytes of every binary file but a pack: what it is, its version, and a checked FlatBuffers
// header. The body follows the header, aligned to 64 bytes. Specified in formats/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

enum class FileKind : std::uint32_t {
  kObjectIndex = 0x58444956,  // "VIDX"
  kBlockMap = 0x50414d56,     // "VMAP"
  kFileTable = 0x42544656,    // "VFTB"
  kPlaces = 0x434c5056,       // "VPLC"
};

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kEnvelopeBytes = 64;

/// On disk, little-endian.
struct Envelope {
  std::array<char, 8> magic;  // "vmpack\r\n": a transfer as text breaks it visibly
  std::uint32_t kind;
  std::uint32_t version;
  std::uint64_t required_features;  // a reader must know every bit that is set
  std::uint64_t header_bytes;       // FlatBuffers header, right behind the envelope
  std::uint64_t header_checksum;    // XXH3
  std::uint64_t body_bytes;         // behind the header, from the next multiple of 64
  std::uint64_t reserved;           // zero
  std::uint64_t checksum;           // XXH3 of the bytes before
};
static_assert(sizeof(Envelope) == kEnvelopeBytes);

/// Envelope, header and padding up to the body, for a body of `body_bytes`.
[[nodiscard]] Bytes make_envelope(FileKind kind, ByteView header, std::uint64_t body_bytes);

/// Checks the first kEnvelopeBytes of a file. `where` names the file in errors. Throws kDamaged (not such a
/// file, wrong checksum), kUnsupported (a later version, an unknown required feature) or kLimit (header over
/// the limit).
[[nodiscard]] Envelope parse_envelope(ByteView bytes, FileKind kind, std::string_view where,
                                      std::uint64_t header_bytes_max);

/// Throws kDamaged unless `header` has the length and checksum that the envelope states.
void check_header(const Envelope& envelope, ByteView header, std::string_view where);

/// Where the body starts in the file.
[[nodiscard]] std::uint64_t body_offset(const Envelope& envelope);

/// Error texts for a format of a version or with a feature that this build does not know.
[[noreturn]] void throw_unknown_version(std::string_view where, std::uint64_t version);
[[noreturn]] void throw_unknown_feature(std::string_view where, std::string_view feature);
/// Throws kUnsupported, naming the lowest unknown bit, when `required` has a bit that `known` lacks.
void check_required_features(std::string_view where, std::uint64_t required, std::uint64_t known);

}  // namespace vmpack
