// SPDX-License-Identifier: Apache-2.0
// A small NBD client that does what a test says, right or wrong, and reads replies strictly.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "server/nbd/protocol.hpp"
#include "tests/server/chunks.hpp"

struct ssl_ctx_st;
struct ssl_st;

namespace vmpack::test {

/// What a client brings along for TLS. With a name for its key it uses that, and no certificates.
struct ClientTls {
  std::string folder;       ///< with ca-cert.pem, which must have signed the server's certificate
  std::string certificate;  ///< of the client, to be read from CERTIFICATE-cert.pem and CERTIFICATE-key.pem
  std::string key_name;
  Bytes key;
  int version_max = 0;  ///< as OpenSSL numbers them; 0: what it likes best
};

/// What OpenSSL needs to be that client.
[[nodiscard]] std::unique_ptr<ssl_ctx_st, void (*)(ssl_ctx_st*)> client_context(const ClientTls& tls);

/// Every wait ends after a minute, with an exception.
class Client {
 public:
  /// Connects to a unix socket.
  explicit Client(const std::string& path);

  void send(ByteView bytes);
  [[nodiscard]] Bytes receive(std::size_t bytes);
  /// True when the server closed the connection and nothing was left to read.
  [[nodiscard]] bool at_end();
  /// All that comes until the server closes the connection, however it does.
  std::string receive_rest();
  /// The handshake of TLS, and nothing of NBD. From then on everything goes through it. False when it failed.
  [[nodiscard]] bool start_tls(const ClientTls& tls);
  void shut_down_send();
  /// Asks for new keys of TLS 1.3, for both directions.
  void update_keys();
  /// From now on as if there were no TLS, although the server thinks that there is.
  void bypass_tls() { tls_.reset(); }
  void close() { socket_.reset(); }

  /// Greeting and client flags.
  void greet(std::uint32_t flags = nbd::kFixedNewstyle | nbd::kNoZeroes);
  /// An option and the replies to it, of which the last one's type is returned.
  nbd::OptionReply ask(nbd::Option option, ByteView data = {});
  /// NBD_OPT_STARTTLS and the handshake that follows. False when either was refused.
  [[nodiscard]] bool upgrade(const ClientTls& tls);

  /// Structured replies if wanted, and go, behind a greeting where there was none. False when the export was
  /// refused.
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
  /// At least one byte; 0 at the end, negative when something broke.
  [[nodiscard]] std::ptrdiff_t receive_some(ByteSpan into);

  FileDescriptor socket_;
  bool greeted_ = false;
  std::shared_ptr<ssl_st> tls_;
  std::map<std::uint64_t, Chunks> unfinished_;
};

}  // namespace vmpack::test
