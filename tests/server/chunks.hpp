// SPDX-License-Identifier: Apache-2.0
// A structured reply as a strict client reads it: anything the protocol forbids throws.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "server/nbd/protocol.hpp"

namespace vmpack::test {

struct Piece {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool hole = false;
  Bytes data;
};

/// All chunks of one reply.
struct Chunks {
  std::vector<Piece> pieces;
  nbd::Status error = nbd::Status::kNone;
  std::uint64_t error_offset = 0;
  std::vector<nbd::Extent> extents;
  bool done = false;

  /// Takes the next chunk. `payload` is what follows the header.
  void add(std::uint16_t flags, nbd::Chunk type, ByteView payload);
  /// The bytes of a read; throws unless the pieces cover it exactly once.
  [[nodiscard]] Bytes content(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] std::size_t holes() const;
};

/// A reply that lies in memory, all of it and nothing else.
[[nodiscard]] Chunks parse_chunks(ByteView bytes, std::uint64_t cookie);

}  // namespace vmpack::test
