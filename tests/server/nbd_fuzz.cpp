// SPDX-License-Identifier: Apache-2.0
// Everything that a client can send, to a whole connection: socket, handshake, transmission and farewell,
// over a socket pair. The image behind it aborts the program on any range that lies outside. The first byte
// says whether the server has no TLS, offers it or insists on it.
#include <openssl/ssl.h>

#include <array>

#include "server/nbd/session.hpp"
#include "tests/server/connection_fuzz.hpp"
#include "tests/server/option_data.hpp"
#include "tests/server/tls_files.hpp"
#include "tests/support/fuzz.hpp"

namespace vmpack {
namespace {

PolicyPtr policy_with(TlsMode mode) {
  Settings settings{.limits = {.bytes_in_flight = 48 * kMiB}};
  if (mode != TlsMode::kOff) {
    settings.tls = test::tls_files().certificates(mode, true);
    settings.tls.psk_file = test::tls_files() / "keys.psk";
  }
  return make_policy(settings);
}

struct World : test::FuzzWorld {
  std::array<PolicyPtr, 3> policies{policy_with(TlsMode::kOff), policy_with(TlsMode::kOffered),
                                    policy_with(TlsMode::kRequired)};
};

void run_connection(World& world, ByteView input) {
  if (input.empty()) return;
  const auto mode = std::to_integer<std::size_t>(input.front()) % world.policies.size();
  world.policy.set(world.policies.at(mode));
  test::run_connection(world, input.subspan(1), [&](Socket socket) {
    return std::make_shared<nbd::Session>(std::move(socket), world.context, Client{.peer = "fuzz"});
  });
}

void append_request(Bytes& to, nbd::Command command, std::uint64_t offset, std::uint32_t length,
                    std::uint16_t flags = 0) {
  append(to, nbd::encode_request({flags, command, to.size(), offset, length}));
}

Bytes client_flags(std::uint32_t flags, TlsMode mode = TlsMode::kOff) {
  Bytes bytes{static_cast<std::byte>(mode)};
  test::append_number(bytes, flags);
  return bytes;
}

Bytes handshake(bool structured) {
  Bytes bytes = client_flags(3);
  if (structured) {
    append(bytes, test::option_message(nbd::Option::kStructuredReply, {}));
    append(bytes, test::option_message(nbd::Option::kSetMetaContext,
                                       test::meta_data("web:v1", {"base:allocation"})));
  }
  append(bytes, test::option_message(nbd::Option::kGo, test::info_data("web:v1", {0, 1, 2, 3})));
  return bytes;
}

/// What a client of TLS sends first.
Bytes client_hello(const test::ClientTls& tls) {
  const auto context = test::client_context(tls);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  SSL_set_app_data(ssl.get(), const_cast<test::ClientTls*>(&tls));
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_connect(ssl.get());
  Bytes hello(static_cast<std::size_t>(BIO_pending(SSL_get_wbio(ssl.get()))));
  BIO_read(SSL_get_wbio(ssl.get()), hello.data(), static_cast<int>(hello.size()));
  return hello;
}

void append_requests(Bytes& to) {
  using nbd::Command;
  append_request(to, Command::kRead, 0, 512);
  append_request(to, Command::kRead, 1, 300'000);
  append_request(to, Command::kRead, 700, 1'000'000, nbd::kFlagDontFragment);
  append_request(to, Command::kBlockStatus, 0, test::kFuzzImageBytes);
  append_request(to, Command::kBlockStatus, 512, 4096, nbd::kFlagRequestOne);
  append_request(to, Command::kCache, 0, test::kFuzzImageBytes);
  append_request(to, Command::kFlush, 0, 0);
  append_request(to, Command::kTrim, 0, 512);
  append_request(to, Command::kWriteZeroes, 0, 512);
  append_request(to, Command::kWrite, 0, 16);
  append(to, Bytes(16));
  append_request(to, Command::kRead, test::kFuzzImageBytes - 1, 2);
  append_request(to, Command::kRead, 256 * kKiB + 3, 256 * kKiB);
  append_request(to, Command::kDisconnect, 0, 0);
}

}  // namespace

namespace test {

std::vector<Bytes> fuzz_seeds() {
  std::vector<Bytes> seeds;
  for (const bool structured : {true, false}) {
    seeds.push_back(handshake(structured));
    append_requests(seeds.back());
  }
  Bytes options = client_flags(1);
  append(options, option_message(nbd::Option::kList, {}));
  append(options, option_message(nbd::Option::kStartTls, {}));
  append(options, option_message(nbd::Option::kStructuredReply, {}));
  append(options, option_message(nbd::Option::kInfo, info_data("broken:v1", {3})));
  append(options, option_message(nbd::Option::kListMetaContext, meta_data("web:v1", {"base:"})));
  append(options, option_message(nbd::Option::kAbort, {}));
  seeds.push_back(options);
  Bytes by_name = client_flags(0);
  append(by_name, option_message(nbd::Option::kExportName, as_byte_view("web:v1")));
  append_requests(by_name);
  seeds.push_back(by_name);
  for (const auto mode : {TlsMode::kOffered, TlsMode::kRequired}) {
    for (auto tls : {tls_files().client("client"), tls_files().alice()}) {
      for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        tls.version_max = version;
        Bytes secret = client_flags(3, mode);
        append(secret, option_message(nbd::Option::kStructuredReply, {}));
        append(secret, option_message(nbd::Option::kStartTls, {}));
        append(secret, client_hello(tls));
        seeds.push_back(secret);
      }
    }
  }
  return seeds;
}

}  // namespace test
}  // namespace vmpack

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static vmpack::World world;
  vmpack::run_connection(world, std::as_bytes(std::span(data, size)));
  return 0;
}
