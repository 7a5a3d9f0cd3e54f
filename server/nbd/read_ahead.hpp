// SPDX-License-Identifier: Apache-2.0
// Guesses what a client will read next from what it has read: a boot loader or a backup that reads one block
// after the other should not have to wait for each frame.
#pragma once

#include <array>
#include <cstdint>

#include "libvmpack/base/units.hpp"

namespace vmpack::nbd {

/// How far ahead of a client its data is fetched, at most.
inline constexpr std::uint64_t kReadAheadBytesMax = 4 * kMiB;

/// Watches the reads of one connection. One thread at a time.
class ReadAhead {
 public:
  /// To be told of every read, in the order of arrival, and whether it was answered `from_memory`. Returns
  /// what to fetch now; mostly nothing, length 0. Where all is in memory already nothing is fetched.
  [[nodiscard]] ByteRange note(ByteRange read, bool from_memory, std::uint64_t image_bytes);

 private:
  /// One place that a client reads on from; a guest has several files open.
  struct Stream {
    std::uint64_t next = 0;      // end of what was read
    std::uint64_t in_a_row = 0;  // bytes read without a jump
    std::uint64_t fetched = 0;   // up to here all was asked for
    std::uint64_t window = 0;
    std::uint64_t known_bytes = 0;  // read from memory since the last read that was not
    std::uint64_t last_use = 0;
  };
  [[nodiscard]] Stream& stream_of(ByteRange read);

  std::array<Stream, 4> streams_;
  std::uint64_t clock_ = 0;
};

}  // namespace vmpack::nbd
