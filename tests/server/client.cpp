// SPDX-License-Identifier: Apache-2.0
#include "tests/server/client.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <stdexcept>

#include "libvmpack/base/error.hpp"
#include "tests/server/option_data.hpp"

namespace vmpack::test {
namespace {

constexpr timeval kPatience{60, 0};

}  // namespace

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
    const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("the server takes no more");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

Bytes Client::receive(std::size_t bytes) {
  Bytes received(bytes);
  for (std::size_t at = 0; at < bytes;) {
    const auto got = ::recv(socket_.get(), received.data() + at, bytes - at, 0);
    if (got <= 0)
      throw std::runtime_error(got == 0 ? "the server closed the connection" : "the server says nothing");
    at += static_cast<std::size_t>(got);
  }
  return received;
}

bool Client::at_end() {
  std::byte one{};
  return ::recv(socket_.get(), &one, 1, 0) == 0;
}

void Client::shut_down_send() { ::shutdown(socket_.get(), SHUT_WR); }

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
  static_cast<void>(receive(nbd::kGreetingBytes));
  Bytes flags;
  append_number(flags, std::uint32_t{nbd::kFixedNewstyle | nbd::kNoZeroes});
  send(flags);
  if (structured) {
    send(option_message(nbd::Option::kStructuredReply, {}));
    finish_option(nbd::Option::kStructuredReply);
  }
  if (block_status) {
    send(option_message(nbd::Option::kSetMetaContext, meta_data(name, {"base:allocation"})));
    finish_option(nbd::Option::kSetMetaContext);
  }
  send(option_message(nbd::Option::kGo, info_data(name, {3})));
  return finish_option(nbd::Option::kGo) == nbd::OptionReply::kAck;
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
