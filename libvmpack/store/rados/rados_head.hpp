// SPDX-License-Identifier: Apache-2.0
// What the RADOS object named like a key says about the key's value (formats/rados.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Attributes of RADOS objects.
inline constexpr const char* kRadosHeadAttribute = "vmpack.head";
inline constexpr const char* kRadosVersionAttribute = "vmpack.version";
inline constexpr const char* kRadosOwnerAttribute = "vmpack.owner";  ///< of the first piece: its value's key
inline constexpr std::string_view kRadosNoOwner = "?";               ///< of a draft: no key contains it

/// Values up to this size lie in their head, larger ones in pieces of this size: as large as RBD's and RGW's
/// are, so that a pack's reads spread over the OSDs.
inline constexpr std::uint64_t kRadosPieceBytes = 4 * kMiB;
inline constexpr std::uint64_t kRadosPieceBytesMin = 1 * kMiB;
inline constexpr std::uint64_t kRadosPieceBytesMax = 64 * kMiB;
inline constexpr std::uint64_t kRadosValueBytesMax = 1 * kTiB;

struct RadosHead {
  std::string version;            ///< 32 hexadecimal digits; the pieces carry it in their names
  std::uint64_t bytes = 0;        ///< of the whole value
  std::uint64_t piece_bytes = 0;  ///< 0: the value lies in the head itself
  std::int64_t modified_seconds = 0;

  [[nodiscard]] bool in_pieces() const { return piece_bytes != 0; }
  [[nodiscard]] std::uint64_t pieces() const { return in_pieces() ? divide_up(bytes, piece_bytes) : 0; }
};

/// A version that no other put has.
[[nodiscard]] std::string new_rados_version();

/// The attribute vmpack.head.
[[nodiscard]] std::string encode_rados_head(const RadosHead& head);
/// From the two attributes. Throws kDamaged or kUnsupported, naming `where`.
[[nodiscard]] RadosHead decode_rados_head(std::string_view head, std::string_view version,
                                          std::string_view where);

/// "tmp/<version>/<number>": the first part keeps pieces out of every list.
[[nodiscard]] std::string rados_piece_name(std::string_view version, std::uint64_t number);

}  // namespace vmpack
