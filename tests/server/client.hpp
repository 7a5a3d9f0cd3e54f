// SPDX-License-Identifier: Apache-2.0
// A small NBD client that does what a test says, right or wrong, and reads replies strictly.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "server/nbd/protocol.hpp"
#include "tests/server/chunks.hpp"

namespace vmpack::test {

/// Every wait ends after a minute, with an exception.
class Client {
 public:
  /// Connects to a unix socket.
  explicit Client(const std::string& path);

  void send(ByteView bytes);
  [[nodiscard]] Bytes receive(std::size_t bytes);
  /// True when the server closed the connection and nothing was left to read.
  [[nodiscard]] bool at_end();
  void shut_down_send();
  void close() { socket_.reset(); }

  /// Greeting, structured replies if wanted, and go. False when the export was refused.
  bool open(const std::string& name, bool structured = true, bool block_status = false);
  /// Reads replies to an option up to its last, and returns that one's type.
  nbd::OptionReply finish_option(nbd::Option option);

  void request(nbd::Command command, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
               std::uint16_t flags = 0);
  /// The next reply that is complete, in whatever order and however mixed their chunks come.
  struct Reply {
    std::uint64_t cookie = 0;
    Chunks chunks;
  };
  [[nodiscard]] Reply next_reply();
  /// The same for a client without structured replies; `length` of a read that succeeds.
  struct SimpleReply {
    std::uint64_t cookie = 0;
    nbd::Status status = nbd::Status::kNone;
    Bytes data;
  };
  [[nodiscard]] SimpleReply next_simple_reply(std::uint32_t length);

  /// One read, checked against its range.
  [[nodiscard]] Bytes read(std::uint64_t offset, std::uint32_t length);

 private:
  FileDescriptor socket_;
  std::map<std::uint64_t, Chunks> unfinished_;
};

}  // namespace vmpack::test
