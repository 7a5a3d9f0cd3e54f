// SPDX-License-Identifier: Apache-2.0
// TLS without a socket: bytes from the network go in, bytes for the network come out. TLS 1.2 and 1.3, with
// certificates, pre-shared keys (PSK), or both. No session is ever resumed.
#pragma once

#include <memory>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "server/access.hpp"
#include "server/settings.hpp"

struct ssl_st;

namespace vmpack {

/// What a client is asked for besides a pre-shared key. One that shows a certificate of another authority is
/// refused in any case but the first.
enum class ClientCertificates { kNotAsked, kWelcome, kRequired };

/// The server's certificate, key and secrets, as they were when the files were read. Immutable: any thread.
class TlsServer {
 public:
  /// Reads the folder's server-cert.pem, server-key.pem and, if clients are asked for certificates,
  /// ca-cert.pem with ca-crl.pem if there is one; and the file of pre-shared keys. Throws Error that names
  /// the file.
  TlsServer(const TlsSettings& settings, ClientCertificates clients);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

 private:
  friend class TlsConnection;
  struct State;
  std::unique_ptr<State> state_;
};

/// Names that a client proved to have. Both are empty when it proved none.
struct TlsIdentity {
  std::string certificate;  ///< its common name, or else the first of its alternative names
  std::string psk;
};

/// Writes them down as the client's, for rules and logs.
void note_identity(Client& client, TlsIdentity identity);

/// One connection's TLS, seen from the server. Used by one thread at a time; whatever is called, the client's
/// bytes may be anything. Methods throw Error (kRefused) when TLS fails; what is outgoing then tells the
/// client why.
class TlsConnection {
 public:
  explicit TlsConnection(const TlsServer& server);
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  /// Bytes that came from the client.
  void take(ByteView received);
  /// False: send what is outgoing, take more from the client, and call it again.
  [[nodiscard]] bool shake_hands();
  /// Valid after the handshake.
  [[nodiscard]] TlsIdentity identity() const;

  /// What the client sent, at most into.size() bytes of it. 0: take more from the client first, unless
  /// ended(). May leave a little outgoing.
  [[nodiscard]] std::size_t read(ByteSpan into);
  /// The client said that nothing more comes.
  [[nodiscard]] bool ended() const { return ended_; }
  /// Afterwards all of it is outgoing.
  void write(ByteView plain);
  /// Tells the client that nothing more comes.
  void end();

  /// Moves what is outgoing into `to`, which it replaces.
  void move_outgoing(Bytes& to);

 private:
  [[noreturn]] void fail() const;

  struct Free {
    void operator()(ssl_st* ssl) const;
  };
  std::unique_ptr<ssl_st, Free> ssl_;
  bool ended_ = false;
};

}  // namespace vmpack
