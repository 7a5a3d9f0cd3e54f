// SPDX-License-Identifier: Apache-2.0
#include "tests/server/client.hpp"

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <csignal>
#include <stdexcept>

#include "libvmpack/base/error.hpp"
#include "tests/server/option_data.hpp"

namespace vmpack::test {
namespace {

constexpr timeval kPatience{60, 0};

/// OpenSSL asks the client for its key, of either version of TLS.
unsigned show_key(SSL* ssl, const char* /*hint*/, char* name, unsigned name_bytes_max, unsigned char* key,
                  unsigned key_bytes_max) {
  const auto& tls = *static_cast<const ClientTls*>(SSL_get_app_data(ssl));
  if (tls.key_name.size() >= name_bytes_max || tls.key.size() > key_bytes_max) return 0;
  name[tls.key_name.copy(name, name_bytes_max - 1)] = '\0';
  std::copy_n(as_u8(tls.key), tls.key.size(), key);
  return static_cast<unsigned>(tls.key.size());
}

}  // namespace

std::unique_ptr<ssl_ctx_st, void (*)(ssl_ctx_st*)> client_context(const ClientTls& tls) {
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  SSL_CTX_set_max_proto_version(context.get(), tls.version_max);
  if (!tls.folder.empty()) {
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_load_verify_locations(context.get(), (tls.folder + "/ca-cert.pem").c_str(), nullptr);
  }
  if (!tls.certificate.empty()) {
    const auto start = tls.folder + "/" + tls.certificate;
    if (SSL_CTX_use_certificate_chain_file(context.get(), (start + "-cert.pem").c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(context.get(), (start + "-key.pem").c_str(), SSL_FILETYPE_PEM) != 1) {
      throw std::runtime_error("the client's certificate cannot be read");
    }
  }
  if (!tls.key_name.empty()) {
    SSL_CTX_set_cipher_list(context.get(), "kDHEPSK+AESGCM:kECDHEPSK+CHACHA20");
    SSL_CTX_set_psk_client_callback(context.get(), &show_key);
  }
  return context;
}

Client::Client(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  if (::connect(socket_.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof(address)) != 0) {
    throw system_error(errno, "cannot connect to", path);
  }
}

void Client::send(ByteView bytes) {
  while (!bytes.empty()) {
    const auto sent = tls_ ? SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()))
                           : ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("the server takes no more");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

Bytes Client::receive(std::size_t bytes) {
  Bytes received(bytes);
  for (std::size_t at = 0; at < bytes;) {
    const auto got = receive_some(ByteSpan(received).subspan(at));
    if (got <= 0)
      throw std::runtime_error(got == 0 ? "the server closed the connection" : "the server says nothing");
    at += static_cast<std::size_t>(got);
  }
  return received;
}

std::ptrdiff_t Client::receive_some(ByteSpan into) {
  if (!tls_) return ::recv(socket_.get(), into.data(), into.size(), 0);
  const int got = SSL_read(tls_.get(), into.data(), static_cast<int>(into.size()));
  if (got > 0) return got;
  return SSL_get_error(tls_.get(), got) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

bool Client::at_end() {
  std::byte one{};
  return receive_some(ByteSpan(&one, 1)) == 0;
}

bool Client::start_tls(const ClientTls& tls) {
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): OpenSSL writes to sockets that are closed
  const auto context = client_context(tls);
  std::shared_ptr<SSL> connection(SSL_new(context.get()), &SSL_free);
  SSL_set_app_data(connection.get(), const_cast<ClientTls*>(&tls));  // while it shakes hands
  SSL_set_fd(connection.get(), socket_.get());
  if (SSL_connect(connection.get()) != 1) return false;
  tls_ = std::move(connection);
  // With TLS 1.3 the client is done before the server has looked at its certificate.
  return true;
}

void Client::shut_down_send() {
  if (tls_) SSL_shutdown(tls_.get());
  ::shutdown(socket_.get(), SHUT_WR);
}

void Client::update_keys() {
  if (SSL_key_update(tls_.get(), SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(tls_.get()) != 1)
    throw std::runtime_error("no new keys");
}

void Client::greet(std::uint32_t flags) {
  static_cast<void>(receive(nbd::kGreetingBytes));
  Bytes bytes;
  append_number(bytes, flags);
  send(bytes);
  greeted_ = true;
}

nbd::OptionReply Client::ask(nbd::Option option, ByteView data) {
  send(option_message(option, data));
  return finish_option(option);
}

bool Client::upgrade(const ClientTls& tls) {
  return ask(nbd::Option::kStartTls) == nbd::OptionReply::kAck && start_tls(tls);
}

std::string Client::receive_rest() {
  std::string received;
  Bytes some(64 * 1024);
  for (;;) {
    const auto got = receive_some(some);
    if (got <= 0) return received;
    received += as_text(ByteView(some).first(static_cast<std::size_t>(got)));
  }
}

nbd::OptionReply Client::finish_option(nbd::Option option) {
  for (;;) {
    const Bytes header = receive(nbd::kOptionReplyHeaderBytes);
    nbd::WireReader reader(header);
    if (reader.number<std::uint64_t>() != nbd::kOptionReplyMagic)
      throw std::runtime_error("a bad option reply");
    if (reader.number<std::uint32_t>() != std::to_underlying(option))
      throw std::runtime_error("a foreign option");
    const auto type = static_cast<nbd::OptionReply>(reader.number<std::uint32_t>().value());
    static_cast<void>(receive(reader.number<std::uint32_t>().value()));
    const bool last = type == nbd::OptionReply::kAck || (std::to_underlying(type) & 0x80000000U) != 0;
    if (last) return type;
  }
}

bool Client::open(const std::string& name, bool structured, bool block_status) {
  if (!greeted_) greet();
  if (structured) ask(nbd::Option::kStructuredReply);
  if (block_status) ask(nbd::Option::kSetMetaContext, meta_data(name, {"base:allocation"}));
  return ask(nbd::Option::kGo, info_data(name, {3})) == nbd::OptionReply::kAck;
}

void Client::request(nbd::Command command, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                     std::uint16_t flags) {
  send(nbd::encode_request({flags, command, cookie, offset, length}));
}

Client::Reply Client::next_reply() {
  for (;;) {
    const Bytes header = receive(nbd::kChunkHeaderBytes);
    nbd::WireReader reader(header);
    if (reader.number<std::uint32_t>() != nbd::kChunkMagic) throw std::runtime_error("no chunk");
    const auto flags = reader.number<std::uint16_t>().value();
    const auto type = static_cast<nbd::Chunk>(reader.number<std::uint16_t>().value());
    const auto cookie = reader.number<std::uint64_t>().value();
    const Bytes payload = receive(reader.number<std::uint32_t>().value());
    Chunks& chunks = unfinished_[cookie];
    chunks.add(flags, type, payload);
    if (chunks.done) return {cookie, std::move(unfinished_.extract(cookie).mapped())};
  }
}

Client::SimpleReply Client::next_simple_reply(std::uint32_t length) {
  const Bytes header = receive(nbd::kSimpleReplyBytes);
  nbd::WireReader reader(header);
  if (reader.number<std::uint32_t>() != nbd::kSimpleReplyMagic) throw std::runtime_error("no simple reply");
  SimpleReply reply;
  reply.status = static_cast<nbd::Status>(reader.number<std::uint32_t>().value());
  reply.cookie = reader.number<std::uint64_t>().value();
  if (reply.status == nbd::Status::kNone) reply.data = receive(length);
  return reply;
}

Bytes Client::read(std::uint64_t offset, std::uint32_t length) {
  request(nbd::Command::kRead, 99, offset, length);
  const auto reply = next_reply();
  if (reply.cookie != 99) throw std::runtime_error("a reply to another request");
  return reply.chunks.content(offset, length);
}

}  // namespace vmpack::test
