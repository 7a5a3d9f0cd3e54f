// SPDX-License-Identifier: Apache-2.0
// Sends a range of a content piece by piece: what is in memory is copied on the network thread, straight to
// where it leaves from; what is not is read by workers, several pieces ahead of the one that leaves.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string_view>

#include "libvmpack/base/units.hpp"
#include "server/async.hpp"
#include "server/context.hpp"
#include "server/http/content.hpp"

namespace vmpack::http {

/// Fits into the processor's second cache, so that the copy to the socket costs little.
inline constexpr std::size_t kPieceBytes = 256 * kKiB;

/// Memory of one piece, kept by a connection from one answer to the next.
using PieceMemory = std::unique_ptr<std::byte[]>;

/// What reading a content threw.
class ContentFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One answer's. Used by one coroutine on the stream's thread. Workers may outlive it.
class ContentSender {
 public:
  /// `range` is not empty. `memory` is used for the first piece, and made when it is null.
  ContentSender(ServerContext& server, std::shared_ptr<const Content> content, ByteRange range,
                PieceMemory memory);
  ~ContentSender();
  ContentSender(const ContentSender&) = delete;
  ContentSender& operator=(const ContentSender&) = delete;

  /// Waits until the first piece is there: until then nothing has been promised. Throws ContentFailure.
  asio::awaitable<void> prepare();

  /// Sends `head` and then the range, whose bytes are added to `bytes_sent` as they leave. Throws
  /// ContentFailure, and what the stream throws; the answer is cut short then, and the connection must be
  /// closed.
  asio::awaitable<void> send(Stream& stream, std::string_view head, std::uint64_t& bytes_sent);

  /// The memory of a piece, for the next answer; null when there is none to spare.
  [[nodiscard]] PieceMemory take_memory() { return std::move(memory_); }

 private:
  struct Piece;
  using PiecePtr = std::shared_ptr<Piece>;

  void start_pieces();
  void start_piece(bool claimed);
  [[nodiscard]] bool read_from_memory(const Piece& piece) const;
  asio::awaitable<void> wait_for_first();

  ServerContext& server_;
  asio::any_io_executor executor_;
  const std::shared_ptr<const Content> content_;
  const ByteRange range_;
  std::uint64_t next_;  // where the next piece starts
  bool reading_ahead_ = false;
  std::deque<PiecePtr> pieces_;  // in order
  PieceMemory memory_;           // free
};

}  // namespace vmpack::http
