// SPDX-License-Identifier: Apache-2.0
// Builds replies in place: data is read to where it leaves from, and headers are written around it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "server/nbd/protocol.hpp"

namespace vmpack::nbd {

/// A run of zeros inside a read becomes a hole from this length: shorter ones cost a client more than they
/// save.
inline constexpr std::uint32_t kHoleBytesMin = 32 * 1024;

/// Room before the data of a read's reply.
[[nodiscard]] constexpr std::size_t read_header_bytes(bool structured) {
  return structured ? kDataChunkHeaderBytes : kSimpleReplyBytes;
}

/// What finish_read() left in the buffer.
struct FinishedRead {
  std::size_t bytes = 0;       ///< to be sent
  std::size_t last_chunk = 0;  ///< where the last chunk starts: it is not marked as done
};
/// `buffer` holds room for a header and then the data of [offset, offset + n), n > 0. Turns it into data and
/// hole chunks, or into one chunk when `fragment` is false.
[[nodiscard]] FinishedRead finish_read(ByteSpan buffer, std::uint64_t cookie, std::uint64_t offset,
                                       bool fragment);

/// A read's reply whose data leaves from where the image has it.
struct SharedRead {
  Bytes headers;                ///< of all chunks
  std::vector<ByteView> parts;  ///< to be sent one behind the other: headers, and data
  std::size_t last_chunk = 0;   ///< in `headers`: it is not marked as done
};
/// Whether the pieces of a read of `bytes` can be sent so without holding much more memory than they are.
[[nodiscard]] bool is_worth_sharing(std::span<const ImagePiece> pieces, std::uint64_t bytes);
/// Data and hole chunks for the pieces of an image from `offset` on, at least one.
[[nodiscard]] SharedRead share_read(std::span<const ImagePiece> pieces, std::uint64_t cookie,
                                    std::uint64_t offset);

/// The reply to a request that has no data.
[[nodiscard]] Bytes plain_reply(bool structured, std::uint64_t cookie, Status status,
                                std::string_view message);

/// Replies that are ready to leave, one behind the other. Its memory stays where it is.
class OutputBuffer {
 public:
  explicit OutputBuffer(std::size_t capacity)
      : capacity_(capacity), memory_(std::make_unique_for_overwrite<std::byte[]>(capacity)) {}

  [[nodiscard]] bool has_room(std::size_t bytes) const { return bytes <= capacity_ - used_; }
  [[nodiscard]] ByteSpan room(std::size_t bytes) { return {memory_.get() + used_, bytes}; }
  void commit(std::size_t bytes) { used_ += bytes; }
  void clear() { used_ = 0; }
  [[nodiscard]] ByteView view() const { return {memory_.get(), used_}; }

 private:
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

/// Appends `runs` to `extents`, joining equal neighbours, up to kExtentsMax of them and `length_max` bytes in
/// all. False when a limit was met.
bool append_extents(std::vector<Extent>& extents, const std::vector<AllocationRun>& runs,
                    std::uint64_t length_max);

}  // namespace vmpack::nbd
