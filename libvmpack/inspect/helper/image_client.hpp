// SPDX-License-Identifier: Apache-2.0
// The child's view of the image: bytes of the file or asked from the parent, with a bounded cache and
// read-ahead.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// Not for use by two threads at once. One that loses its parent ends the process.
class ImageClient {
 public:
  /// `descriptor` is the image, or a socket that speaks image_wire. Reads are allowed inside `range` of the
  /// image only.
  ImageClient(int descriptor, ByteRange range);
  ImageClient(const ImageClient&) = delete;
  ImageClient& operator=(const ImageClient&) = delete;

  /// Fills `into` from `offset` bytes behind the start of the range. False when that reaches out of the
  /// range, or when the parent could not read it.
  [[nodiscard]] bool read(std::uint64_t offset, ByteSpan into);

  [[nodiscard]] std::uint64_t size() const { return range_.length; }
  [[nodiscard]] ByteRange range() const { return range_; }
  /// Another part of the same image. Forgets what is cached.
  void set_range(ByteRange range);

 private:
  struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  /// The cached chunk, or nothing when it could not be read.
  ByteView chunk(std::uint64_t number);
  ByteView chunk_in_slot(std::size_t slot) const;
  bool fetch(std::uint64_t offset, ByteSpan into);

  int descriptor_;
  bool is_file_;
  ByteRange range_;
  std::unique_ptr<std::byte, FreeMemory>
      memory_;  ///< of all slots; pages come into being when they are filled
  std::vector<std::uint64_t> chunk_of_slot_;
  std::unordered_map<std::uint64_t, std::size_t> slot_of_chunk_;
  std::size_t next_slot_ = 0;  ///< the oldest one, overwritten next
  std::uint64_t expected_chunk_ =
      0;  ///< the one behind the last fetch: asked for next by a sequential reader
  std::uint64_t read_ahead_chunks_ = 1;
};

}  // namespace vmpack
