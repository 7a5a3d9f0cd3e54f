// SPDX-License-Identifier: Apache-2.0
#include "server/tls.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/units.hpp"
#include "server/small_file.hpp"
#include "server/tls_keys.hpp"

namespace vmpack {
namespace {

/// TLS 1.2: forward secrecy and authenticated encryption only.
constexpr const char* kCertificateCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr const char* kPskCiphers = "kECDHEPSK+CHACHA20:kDHEPSK+AESGCM:kDHEPSK+CHACHA20";
/// TLS 1.3: a pre-shared key belongs to one hash, and to SHA-256 where nobody says otherwise (RFC 8446,
/// 4.2.11). A cipher of another hash would pass it over.
constexpr const char* kPskCipherSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr std::array<unsigned char, 2> kAes128GcmSha256{0x13, 0x01};

constexpr std::size_t kNameBytesMax = 256;
/// What may wait to be sent beside what was written: a client that has it answered in vain must not fill
/// memory.
constexpr std::size_t kOutgoingBytesMax = 1 * kMiB;
constexpr std::string_view kHttpAlpn = "\x08http/1.1";
constexpr std::string_view kSessionContext = "vmserve";

template <auto Function>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Function(object);
  }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION_free>>;

int to_int(std::size_t bytes) { return static_cast<int>(bytes); }
const unsigned char* as_uchar(std::string_view text) { return as_u8(as_byte_view(text)); }

std::string_view as_view(const unsigned char* text, std::size_t bytes) {
  return as_text(std::as_bytes(std::span(text, bytes)));
}

/// What OpenSSL says was wrong.
std::string last_reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "it cannot be used" : reason;
}

void require(bool done, std::string_view doing) {
  if (!done) throw Error(ErrorCode::kInvalid, fmt::format("cannot {}: {}", doing, last_reason()));
}

/// OpenSSL does not say well that a file is not there.
void check_readable(const std::string& path) { static_cast<void>(FileDescriptor::open(path, O_RDONLY)); }

// ---- the names in a certificate ----

/// Empty when the text could not be shown and compared as it is.
std::string text_of(const ASN1_STRING* string) {
  unsigned char* utf8 = nullptr;
  const int bytes = string == nullptr ? -1 : ASN1_STRING_to_UTF8(&utf8, string);
  if (bytes < 0) return {};
  std::string text(as_view(utf8, static_cast<std::size_t>(bytes)));
  OPENSSL_free(utf8);
  const bool plain = text.size() <= kNameBytesMax && printable(text) == text;
  return plain ? text : std::string();
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  return text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

std::string first_alternative_name(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS || name->type == GEN_EMAIL || name->type == GEN_URI)
      return text_of(name->d.ia5);
  }
  return {};
}

std::string name_in(const X509* certificate) {
  auto name = common_name(certificate);
  return name.empty() ? first_alternative_name(certificate) : name;
}

}  // namespace

// ---- the server ----

struct TlsServer::State {
  void load_certificate(const std::string& folder);
  void load_authority(const std::string& folder, ClientCertificates clients);
  void use_preshared_keys(const std::string& file);

  static State& of(const SSL* ssl) {
    return *static_cast<State*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  }
  static unsigned find_key(SSL* ssl, const char* name, unsigned char* key, unsigned key_bytes_max);
  static int find_session(SSL* ssl, const unsigned char* name, std::size_t name_bytes, SSL_SESSION** session);
  static int select_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_bytes,
                             const unsigned char* offered, unsigned offered_bytes, void* unused);
  static int no_password(char* buffer, int bytes, int writing, void* unused);

  ContextPtr context{SSL_CTX_new(TLS_server_method())};
  PresharedKeys keys;
};

TlsServer::TlsServer(const TlsSettings& settings, ClientCertificates clients)
    : state_(std::make_unique<State>()) {
  SSL_CTX* context = state_->context.get();
  require(context != nullptr && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1, "set up TLS");
  SSL_CTX_set_app_data(context, state_.get());
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(context, as_uchar(kSessionContext), to_int(kSessionContext.size()));
  SSL_CTX_set_default_passwd_cb(context, &State::no_password);
  SSL_CTX_set_alpn_select_cb(context, &State::select_protocol, nullptr);
  std::string ciphers;
  if (!settings.certificates.empty()) {
    state_->load_certificate(settings.certificates);
    if (clients != ClientCertificates::kNotAsked) state_->load_authority(settings.certificates, clients);
    ciphers = kCertificateCiphers;
  }
  if (!settings.psk_file.empty()) {
    state_->use_preshared_keys(settings.psk_file);
    ciphers += fmt::format("{}{}", ciphers.empty() ? "" : ":", kPskCiphers);
  }
  require(SSL_CTX_set_cipher_list(context, ciphers.c_str()) == 1, "choose ciphers for TLS");
}

TlsServer::~TlsServer() = default;

void TlsServer::State::load_certificate(const std::string& folder) {
  const auto certificate = folder + "/server-cert.pem";
  const auto key = folder + "/server-key.pem";
  for (const auto& path : {certificate, key}) check_readable(path);
  require(SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) == 1,
          fmt::format("use the certificate in {}", certificate));
  require(SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) == 1,
          fmt::format("use the key in {}", key));
  require(SSL_CTX_check_private_key(context.get()) == 1, fmt::format("use {} with {}", key, certificate));
}

void TlsServer::State::load_authority(const std::string& folder, ClientCertificates clients) {
  const auto authority = folder + "/ca-cert.pem";
  const auto revoked = folder + "/ca-crl.pem";
  check_readable(authority);
  require(SSL_CTX_load_verify_locations(context.get(), authority.c_str(), nullptr) == 1,
          fmt::format("use the certificates in {}", authority));
  SSL_CTX_set_client_CA_list(context.get(), SSL_load_client_CA_file(authority.c_str()));
  if (::access(revoked.c_str(), F_OK) == 0) {
    X509_STORE* store = SSL_CTX_get_cert_store(context.get());
    require(X509_load_crl_file(X509_STORE_add_lookup(store, X509_LOOKUP_file()), revoked.c_str(),
                               X509_FILETYPE_PEM) > 0,
            fmt::format("use the list in {}", revoked));
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  }
  const int needed = clients == ClientCertificates::kRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | needed, nullptr);
}

void TlsServer::State::use_preshared_keys(const std::string& file) {
  keys = parse_preshared_keys(read_small_file(file), file);
  require(SSL_CTX_set_ciphersuites(context.get(), kPskCipherSuites) == 1 &&
              SSL_CTX_set_dh_auto(context.get(), 1) == 1,
          "set up pre-shared keys");
  SSL_CTX_set_psk_server_callback(context.get(), &State::find_key);
  SSL_CTX_set_psk_find_session_callback(context.get(), &State::find_session);
}

/// TLS 1.2 asks for a name's key. 0: there is none.
unsigned TlsServer::State::find_key(SSL* ssl, const char* name, unsigned char* key, unsigned key_bytes_max) {
  const PresharedKeys& keys = of(ssl).keys;
  const auto found = keys.find(std::string_view(name));
  if (SSL_version(ssl) > TLS1_2_VERSION || found == keys.end() || found->second.size() > key_bytes_max)
    return 0;
  std::copy_n(as_u8(found->second), found->second.size(), key);
  return static_cast<unsigned>(found->second.size());
}

/// TLS 1.3 asks for a session to be resumed, which has the key as its secret. The name is kept inside of it,
/// so that it can only be read where the session was really used.
int TlsServer::State::find_session(SSL* ssl, const unsigned char* name, std::size_t name_bytes,
                                   SSL_SESSION** session) {
  *session = nullptr;
  const PresharedKeys& keys = of(ssl).keys;
  const auto found = keys.find(as_view(name, name_bytes));
  if (found == keys.end()) return 1;
  SessionPtr made(SSL_SESSION_new());
  const bool complete =
      made && SSL_SESSION_set1_master_key(made.get(), as_u8(found->second), found->second.size()) == 1 &&
      SSL_SESSION_set_cipher(made.get(), SSL_CIPHER_find(ssl, kAes128GcmSha256.data())) == 1 &&
      SSL_SESSION_set_protocol_version(made.get(), TLS1_3_VERSION) == 1 &&
      SSL_SESSION_set1_ticket_appdata(made.get(), found->first.data(), found->first.size()) == 1;
  if (!complete) return 0;
  *session = made.release();
  return 1;
}

/// HTTPS clients are told that it is HTTP/1.1. NBD has no name here, and its clients do not ask.
int TlsServer::State::select_protocol(SSL* /*ssl*/, const unsigned char** chosen, unsigned char* chosen_bytes,
                                      const unsigned char* offered, unsigned offered_bytes,
                                      void* /*unused*/) {
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, chosen_bytes, as_uchar(kHttpAlpn),
                            static_cast<unsigned>(kHttpAlpn.size()), offered,
                            offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = selected;
  return SSL_TLSEXT_ERR_OK;
}

/// A server has nobody to ask for the password of a key.
int TlsServer::State::no_password(char* /*buffer*/, int /*bytes*/, int /*writing*/, void* /*unused*/) {
  return 0;
}

void note_identity(Client& client, TlsIdentity identity) {
  if (!identity.certificate.empty()) client.peer += fmt::format(" (certificate {})", identity.certificate);
  if (!identity.psk.empty()) client.peer += fmt::format(" (key {})", printable(identity.psk));
  client.certificate = std::move(identity.certificate);
  client.psk = std::move(identity.psk);
}

// ---- a connection ----

void TlsConnection::Free::operator()(ssl_st* ssl) const { SSL_free(ssl); }

TlsConnection::TlsConnection(const TlsServer& server) : ssl_(SSL_new(server.state_->context.get())) {
  BIO* incoming = BIO_new(BIO_s_mem());
  BIO* outgoing = BIO_new(BIO_s_mem());
  VMPACK_ASSERT(ssl_ && incoming != nullptr && outgoing != nullptr);
  SSL_set_bio(ssl_.get(), incoming, outgoing);
  SSL_set_accept_state(ssl_.get());
}

TlsConnection::~TlsConnection() = default;

void TlsConnection::fail() const {
  const long verdict = SSL_get_verify_result(ssl_.get());
  std::string reason = last_reason();
  if (verdict != X509_V_OK) reason = fmt::format("{} ({})", reason, X509_verify_cert_error_string(verdict));
  throw Error(ErrorCode::kRefused, fmt::format("TLS failed: {}", reason));
}

void TlsConnection::take(ByteView received) {
  const int taken = BIO_write(SSL_get_rbio(ssl_.get()), received.data(), to_int(received.size()));
  VMPACK_ASSERT(taken == to_int(received.size()));
}

bool TlsConnection::shake_hands() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return true;
  if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) fail();
  return false;
}

TlsIdentity TlsConnection::identity() const {
  TlsIdentity identity;
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate != nullptr && SSL_get_verify_result(ssl_.get()) == X509_V_OK)
    identity.certificate = name_in(certificate);
  if (SSL_version(ssl_.get()) == TLS1_2_VERSION) {
    const char* name = SSL_get_psk_identity(ssl_.get());
    if (name != nullptr) identity.psk = name;
  } else if (SSL_session_reused(ssl_.get()) == 1) {
    void* name = nullptr;
    std::size_t bytes = 0;
    SSL_SESSION_get0_ticket_appdata(SSL_get_session(ssl_.get()), &name, &bytes);
    identity.psk = as_view(static_cast<const unsigned char*>(name), bytes);
  }
  return identity;
}

std::size_t TlsConnection::read(ByteSpan into) {
  if (BIO_pending(SSL_get_wbio(ssl_.get())) > to_int(kOutgoingBytesMax))
    throw Error(ErrorCode::kRefused, "TLS failed: the client takes no answers");
  ERR_clear_error();
  std::size_t bytes = 0;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &bytes);
  if (result == 1) return bytes;
  const int error = SSL_get_error(ssl_.get(), result);
  ended_ = error == SSL_ERROR_ZERO_RETURN;
  if (!ended_ && error != SSL_ERROR_WANT_READ) fail();
  return 0;
}

void TlsConnection::write(ByteView plain) {
  if (plain.empty()) return;
  ERR_clear_error();
  std::size_t bytes = 0;
  // Into memory, it never stops half-way.
  if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &bytes) != 1) fail();
  VMPACK_ASSERT(bytes == plain.size());
}

void TlsConnection::end() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
}

void TlsConnection::move_outgoing(Bytes& to) {
  BIO* outgoing = SSL_get_wbio(ssl_.get());
  to.resize(static_cast<std::size_t>(BIO_pending(outgoing)));
  if (to.empty()) return;
  const int bytes = BIO_read(outgoing, to.data(), to_int(to.size()));
  VMPACK_ASSERT(bytes == to_int(to.size()));
}

}  // namespace vmpack
