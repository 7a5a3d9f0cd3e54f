// SPDX-License-Identifier: Apache-2.0
#include "server/http/sender.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace vmpack::http {
namespace {

/// What is read ahead, beside the piece that leaves.
constexpr std::size_t kPiecesAhead = 4;
constexpr Claim kPieceClaim{1, kPieceBytes};

}  // namespace

/// Belongs to the network thread, but for what a worker does until it says that it is done.
struct ContentSender::Piece {
  Piece(ServerContext& of, const asio::any_io_executor& executor) : server(of), changed(executor) {}
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;
  ~Piece() {
    if (claimed) server.budget.give_back(kPieceClaim);
  }

  [[nodiscard]] ByteSpan bytes() const { return {memory.get(), range.length}; }

  ServerContext& server;
  Signal changed;
  PieceMemory memory;
  ByteRange range;
  bool claimed = false;
  bool ready = false;
  std::optional<std::string> error;
};

ContentSender::ContentSender(ServerContext& server, std::shared_ptr<const Content> content, ByteRange range,
                             PieceMemory memory)
    : server_(server),
      content_(std::move(content)),
      range_(range),
      next_(range.offset),
      memory_(std::move(memory)) {}

ContentSender::~ContentSender() = default;

asio::awaitable<void> ContentSender::prepare() {
  executor_ = co_await asio::this_coro::executor;
  start_pieces();
  co_await wait_for_first();
}

void ContentSender::start_pieces() {
  // The piece that leaves needs no claim: it is what every connection may have. Nobody waits for the others.
  while (next_ < range_.end() && (pieces_.empty() || (reading_ahead_ && pieces_.size() <= kPiecesAhead))) {
    const bool claimed = !pieces_.empty();
    if (claimed && !server_.budget.try_take(kPieceClaim)) return;
    start_piece(claimed);
  }
}

void ContentSender::start_piece(bool claimed) {
  const auto piece = std::make_shared<Piece>(server_, executor_);
  piece->claimed = claimed;
  piece->range = {next_, std::min<std::uint64_t>(kPieceBytes, range_.end() - next_)};
  piece->memory = memory_ ? std::move(memory_) : std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
  next_ = piece->range.end();
  pieces_.push_back(piece);
  piece->ready = read_from_memory(*piece);
  reading_ahead_ = !piece->ready;
  if (piece->ready) return;
  asio::post(server_.workers, [content = content_, piece, executor = executor_]() mutable {
    std::optional<std::string> error;
    try {
      content->read(piece->range.offset, piece->bytes());
    } catch (const std::exception& exception) {
      error = exception.what();
    }
    asio::post(executor, [piece = std::move(piece), error = std::move(error)] {
      piece->error = error;
      piece->ready = true;
      piece->changed.notify();
    });
  });
}

bool ContentSender::read_from_memory(const Piece& piece) const {
  try {
    return content_->try_read(piece.range.offset, piece.bytes());
  } catch (const std::exception&) {
    return false;  // a worker will meet the same, and tell it
  }
}

asio::awaitable<void> ContentSender::wait_for_first() {
  const PiecePtr piece = pieces_.front();
  while (!piece->ready) co_await piece->changed.wait();
  if (piece->error) throw ContentFailure(*piece->error);
}

asio::awaitable<void> ContentSender::send(Stream& stream, std::string_view head, std::uint64_t& bytes_sent) {
  while (!pieces_.empty()) {
    start_pieces();
    co_await wait_for_first();
    const PiecePtr piece = std::move(pieces_.front());
    pieces_.pop_front();
    std::array buffers{asio::const_buffer(head.data(), head.size()),
                       asio::const_buffer(piece->memory.get(), piece->range.length)};
    co_await stream.write(buffers);
    head = {};
    bytes_sent += piece->range.length;
    memory_ = std::move(piece->memory);
    start_pieces();
  }
}

}  // namespace vmpack::http
