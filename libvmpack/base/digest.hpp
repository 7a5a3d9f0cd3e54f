// SPDX-License-Identifier: Apache-2.0
// SHA-256 digests, one type for each kind of thing so that they cannot be mixed up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

inline constexpr std::size_t kDigestBytes = 32;

/// A SHA-256 with no statement of what it is of.
struct Digest {
  std::array<std::uint8_t, kDigestBytes> bytes{};

  friend auto operator<=>(const Digest&, const Digest&) = default;

  /// 64 lower-case hexadecimal digits.
  [[nodiscard]] std::string hex() const;
  /// The first eight bytes as a big-endian number: sorts like the digest, and is as good as a hash.
  [[nodiscard]] std::uint64_t prefix() const;
  /// nullopt unless `text` is exactly 64 hexadecimal digits in lower case.
  static std::optional<Digest> from_hex(std::string_view text);
};

/// A digest of one kind of thing. Converts to a bare Digest, and only explicitly from one.
template <typename Tag>
struct TaggedDigest : Digest {
  TaggedDigest() = default;
  explicit TaggedDigest(const Digest& digest) : Digest(digest) {}
};

using ObjectDigest = TaggedDigest<struct ObjectTag>;        ///< of an object's bytes
using FrameDigest = TaggedDigest<struct FrameTag>;          ///< of a frame's stored bytes
using PackDigest = TaggedDigest<struct PackTag>;            ///< of a pack's head and trailer
using MapDigest = TaggedDigest<struct MapTag>;              ///< of a block map's root file
using FileTableDigest = TaggedDigest<struct FileTableTag>;  ///< of a file table's root file
using SnapshotDigest = TaggedDigest<struct SnapshotTag>;    ///< of a manifest's bytes

/// Hash for unordered containers. Digests are uniform, so their first bytes do.
struct DigestHash {
  std::size_t operator()(const Digest& digest) const noexcept {
    std::size_t value;
    std::memcpy(&value, digest.bytes.data(), sizeof(value));
    return value;
  }
};

/// SHA-256 of one run of bytes. Any thread; uses the processor's own instructions.
[[nodiscard]] Digest sha256(ByteView bytes);

/// SHA-256 of each of `inputs`, into as many `digests`. Any thread. On processors with SHA instructions about
/// twice as fast as one by one.
void sha256_each(std::span<const ByteView> inputs, std::span<Digest> digests);

/// SHA-256 of bytes that come in pieces. Not for use by two threads at once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(ByteView bytes);
  /// Ends the hash; the object then starts anew.
  [[nodiscard]] Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
