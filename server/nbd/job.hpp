// SPDX-License-Identifier: Apache-2.0
// A request, or a piece of one, that could not be answered from memory at once: done by a worker thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"
#include "server/budget.hpp"
#include "server/export.hpp"
#include "server/nbd/protocol.hpp"
#include "server/nbd/request.hpp"

namespace vmpack::nbd {

/// Counts the pieces of a read that have not been answered: whoever answers the last one ends the reply.
/// Network thread.
struct Pieces {
  explicit Pieces(std::uint64_t count) : left(count) {}
  std::uint64_t left;
};

struct Job {
  Request request;
  Action action = Action::kRead;
  bool structured = false;
  ByteRange range;                 ///< of the image: all of the request or a piece of a read
  std::shared_ptr<Pieces> pieces;  ///< of a read
  bool shares = false;             ///< a read whose data need not be copied, in chunks

  std::uint64_t reply_bytes_max = 0;  ///< counted against the connection's limit until the reply has left
  Claim claim;                        ///< of the server's budget

  // Filled in by run_job().
  std::unique_ptr<std::byte[]> memory;
  Bytes small;                   ///< the reply, where there is no `memory`; headers where there are `parts`
  std::vector<ByteView> parts;   ///< the reply, where there are any
  std::vector<ImagePiece> held;  ///< what they lie in
  std::size_t bytes = 0;
  std::size_t last_chunk = 0;
  std::string fault;  ///< for the log, when it failed

  /// Calls `each` for the reply's parts, in order.
  template <typename Each>
  void for_each_part(Each each) const {
    if (parts.empty()) each(memory ? ByteView(memory.get(), bytes) : ByteView(small));
    for (const ByteView part : parts) each(part);
  }
  void end_reply() { mark_done((memory ? memory.get() : small.data()) + last_chunk); }
};

/// Memory for the reply to a job, before it is run.
[[nodiscard]] std::uint64_t reply_bytes_max(const Job& job);

/// Does what it can do in one go, and leaves the reply in the job. False when it has to be run again (a long
/// prefetch gives others a turn). Never throws: a failure becomes the client's error and `fault`.
[[nodiscard]] bool run_job(Job& job, const Image& image);

/// Does a read that shares if all of it is in memory; false, at once, if not.
[[nodiscard]] bool try_job(Job& job, const Image& image);

/// The reply to a job whose image could not be read.
[[nodiscard]] Bytes failed_reply(const Request& request, bool structured, std::uint64_t offset);

}  // namespace vmpack::nbd
