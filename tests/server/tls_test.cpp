// SPDX-License-Identifier: Apache-2.0
// Who gets in through TLS, and as whom; what is refused when the server starts.
#include "server/tls.hpp"

#include <openssl/ssl.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "server/tls_keys.hpp"
#include "tests/server/bytes_of.hpp"
#include "tests/server/option_data.hpp"
#include "tests/server/server_under_test.hpp"
#include "tests/server/tls_files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack {
namespace {

using test::Client;
using test::ClientTls;
using test::error_of;
using test::ServerUnderTest;
using test::TempDir;
using test::tls_files;

bool gets(ServerUnderTest& under_test, const ClientTls& tls, const std::string& name = "web:v1") {
  Client client = under_test.connect();
  client.greet();
  try {
    return client.upgrade(tls) && client.open(name) &&
           client.read(777, 3333) == under_test.content(777, 3333);
  } catch (const std::runtime_error&) {
    return false;
  }
}

/// Everybody may open web:v1; the others are for whom they are named after.
ServerUnderTest with_rules(const TlsSettings& tls) {
  return ServerUnderTest(Settings{.tls = tls,
                                  .access = {{{"web:*"}, {"*"}},
                                             {{"host:*"}, {"cert:host-7"}},
                                             {{"mail:*"}, {"cert:mail.example"}},
                                             {{"alice:*"}, {"psk:alice"}}}});
}

void add_exports(ServerUnderTest& under_test) {
  for (const auto* name : {"host:v1", "mail:v1", "alice:v1"}) under_test.catalog.add(name, under_test.image);
}

TEST_CASE("a client reads through TLS 1.2 and 1.3") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates()}, 40 * kMiB);
  const int version = GENERATE(TLS1_2_VERSION, TLS1_3_VERSION);
  if (GENERATE(true, false)) under_test.image->in_memory = [](std::uint64_t) { return true; };
  auto tls = tls_files().client();
  tls.version_max = version;
  Client client = under_test.connect();
  client.greet();
  REQUIRE(client.upgrade(tls));
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t cookie = 0; cookie < 16; ++cookie)
    client.request(nbd::Command::kRead, cookie, cookie * 2 * kMiB + 1, 300'000);
  client.request(nbd::Command::kRead, 16, 0, 32 * kMiB);
  for (int i = 0; i < 17; ++i) {
    const auto reply = client.next_reply();
    const auto [offset, length] =
        reply.cookie == 16 ? std::pair(0UL, 32UL * kMiB) : std::pair(reply.cookie * 2 * kMiB + 1, 300'000UL);
    CHECK(reply.chunks.content(offset, length) == under_test.content(offset, length));
  }
  client.request(nbd::Command::kDisconnect, 0, 0, 0);
  CHECK(client.at_end());  // with the farewell of TLS, not just the socket's
}

TEST_CASE("TLS before 1.2 is refused") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates()});
  auto tls = tls_files().client();
  tls.version_max = TLS1_1_VERSION;
  CHECK_FALSE(gets(under_test, tls));
}

TEST_CASE("nobody needs a certificate where none is asked for") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates()});
  for (const auto* name : {"", "client", "foreign"}) CHECK(gets(under_test, tls_files().client(name)));
}

TEST_CASE("where certificates are required, only those of the authority for clients get in") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates(TlsMode::kRequired, true)});
  for (const auto* name : {"client", "nameless", "revoked"}) {
    CAPTURE(name);
    CHECK(gets(under_test, tls_files().client(name)));
  }
  for (const auto* name : {"", "foreign", "misused", "old"}) {
    CAPTURE(name);
    CHECK_FALSE(gets(under_test, tls_files().client(name)));
  }
  CHECK(under_test.stop_and_read_log().find("TLS failed: certificate verify failed") != std::string::npos);
}

TEST_CASE("a revoked certificate is refused where there is a list of them") {
  const TempDir folder;
  for (const auto* name : {"ca-cert.pem", "server-cert.pem", "server-key.pem"})
    std::filesystem::copy(tls_files() / name, folder / name);
  std::filesystem::copy(tls_files() / "revoked.pem", folder / "ca-crl.pem");
  auto tls = tls_files().certificates(TlsMode::kRequired, true);
  tls.certificates = folder.path();
  ServerUnderTest under_test(Settings{.tls = tls});
  CHECK(gets(under_test, tls_files().client("client")));
  CHECK_FALSE(gets(under_test, tls_files().client("revoked")));
}

TEST_CASE("a certificate gives its client a name, and a foreign one gives none") {
  auto under_test = with_rules(tls_files().certificates());
  add_exports(under_test);
  CHECK(gets(under_test, tls_files().client("client"), "host:v1"));
  CHECK(gets(under_test, tls_files().client("nameless"), "mail:v1"));
  CHECK(gets(under_test, tls_files().client()));
  CHECK_FALSE(gets(under_test, tls_files().client(), "host:v1"));
  CHECK_FALSE(gets(under_test, tls_files().client("client"), "mail:v1"));
  // Shown, but of another authority: refused as a whole.
  CHECK_FALSE(gets(under_test, tls_files().client("foreign")));
  CHECK(under_test.stop_and_read_log().find("(certificate host-7)") != std::string::npos);
}

TEST_CASE("a pre-shared key gives its client a name, with TLS 1.2 and 1.3") {
  auto settings = tls_files().keys();
  // Whether there are certificates as well must not matter.
  if (GENERATE(true, false)) settings.certificates = tls_files().folder();
  auto under_test = with_rules(settings);
  add_exports(under_test);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    auto alice = tls_files().alice();
    alice.version_max = version;
    CHECK(gets(under_test, alice, "alice:v1"));
    CHECK_FALSE(gets(under_test, alice, "host:v1"));
    auto wrong_key = alice;
    wrong_key.key.back() ^= std::byte{1};
    CHECK_FALSE(gets(under_test, wrong_key));
    auto stranger = alice;
    stranger.key_name = "mallory";
    CHECK_FALSE(gets(under_test, stranger, "alice:v1"));
  }
}

TEST_CASE("with certificates alone a client's key is worth nothing") {
  auto under_test = with_rules(tls_files().certificates());
  add_exports(under_test);
  CHECK_FALSE(gets(under_test, tls_files().alice(), "alice:v1"));
}

TEST_CASE("new certificates count for connections from then on") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates()});
  Client old = under_test.connect();
  old.greet();
  REQUIRE(old.upgrade(tls_files().client()));
  under_test.server->set_policy(make_policy({.tls = tls_files().certificates(TlsMode::kRequired, true)}));
  CHECK_FALSE(gets(under_test, tls_files().client()));
  CHECK(gets(under_test, tls_files().client("client")));
  CHECK(old.open("web:v1"));
}

TEST_CASE("a client that wants new keys all the time reads on") {
  ServerUnderTest under_test(Settings{.tls = tls_files().certificates()});
  Client client = under_test.connect();
  client.greet();
  REQUIRE(client.upgrade(tls_files().client()));
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t i = 0; i < 200; ++i) {
    for (int updates = 0; updates < 20; ++updates) client.update_keys();
    REQUIRE(client.read(i * 4096, 4096) == under_test.content(i * 4096, 4096));
  }
}

TEST_CASE("a flood of handshakes that lead nowhere holds up nobody, and ends") {
  Settings settings{.tls = tls_files().certificates()};
  settings.limits.handshake = std::chrono::seconds(2);
  ServerUnderTest under_test(settings);
  std::vector<Client> flood;
  for (int i = 0; i < 400; ++i) {
    Client& client = flood.emplace_back(under_test.connect());
    client.greet();
    REQUIRE(client.ask(nbd::Option::kStartTls) == nbd::OptionReply::kAck);
    // A ClientHello that never ends; every fourth sends nothing of it.
    if (i % 4 != 0) client.send(test::bytes_of("16 0301 0200 010001fc 0303 00112233"));
  }
  for (int i = 0; i < 10; ++i) CHECK(gets(under_test, tls_files().client()));
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
}

TEST_CASE("a client that takes nothing through TLS is closed, and held up nobody") {
  Settings settings{.tls = tls_files().certificates()};
  settings.limits.send_stall = std::chrono::seconds(1);
  ServerUnderTest under_test(settings);
  Client client = under_test.connect();
  client.greet();
  REQUIRE(client.upgrade(tls_files().client()));
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie)
    client.request(nbd::Command::kRead, cookie, 3 * kMiB, 4 * kMiB);
  CHECK(gets(under_test, tls_files().client()));
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
  CHECK(under_test.stop_and_read_log().find("has taken no data") != std::string::npos);
}

TEST_CASE("clients that vanish in the middle of TLS cost the server nothing") {
  Settings settings{.tls = tls_files().certificates()};
  settings.limits.bytes_in_flight = 48 * kMiB;
  ServerUnderTest under_test(settings, 40 * kMiB);
  for (int i = 0; i < 40; ++i) {
    Client client = under_test.connect();
    client.greet();
    if (i % 4 == 0) {
      client.send(test::option_message(nbd::Option::kStartTls, {}));
      continue;
    }
    REQUIRE(client.upgrade(tls_files().client()));
    if (i % 4 == 1) continue;
    REQUIRE(client.open("web:v1", i % 8 < 4));
    for (std::uint64_t cookie = 0; cookie < 4; ++cookie)
      client.request(nbd::Command::kRead, cookie, 0, 16 * kMiB);
    if (i % 4 == 3) static_cast<void>(client.receive(100'000));
  }
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
  // Had a share of the budget been lost, this would wait for ever.
  Client client = under_test.connect();
  client.greet();
  REQUIRE(client.upgrade(tls_files().client()));
  REQUIRE(client.open("web:v1", false));
  client.request(nbd::Command::kRead, 1, 0, 32 * kMiB);
  CHECK(client.next_simple_reply(32 * kMiB).data == under_test.content(0, 32 * kMiB));
}

TEST_CASE("certificates that cannot be used are refused by name") {
  const TempDir folder;
  const auto copy = [&](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(tls_files() / from, folder / to,
                               std::filesystem::copy_options::overwrite_existing);
  };
  const auto refusal = [&] {
    return std::string(
        error_of([&] { TlsServer({.certificates = folder.path()}, ClientCertificates::kRequired); }).what());
  };
  const auto names = [](const std::string& text, std::string_view file) {
    return text.find(file) != std::string::npos;
  };
  CHECK(names(refusal(), "server-cert.pem"));
  copy("server-cert.pem", "server-cert.pem");
  CHECK(names(refusal(), "server-key.pem"));
  copy("client-key.pem", "server-key.pem");
  CHECK(names(refusal(), "server-key.pem"));
  test::run_or_throw({"openssl", "ec", "-in", tls_files() / "server-key.pem", "-aes256", "-passout",
                      "pass:secret", "-out", folder / "server-key.pem"});
  CHECK(names(refusal(), "server-key.pem"));
  copy("server-key.pem", "server-key.pem");
  CHECK(names(refusal(), "ca-cert.pem"));
  std::ofstream(folder / "ca-cert.pem") << "no certificate";
  CHECK(names(refusal(), "ca-cert.pem"));
  copy("ca-cert.pem", "ca-cert.pem");
  CHECK_NOTHROW(TlsServer({.certificates = folder.path()}, ClientCertificates::kRequired));
  copy("ca-cert.pem", "ca-crl.pem");
  CHECK(names(refusal(), "ca-crl.pem"));
}

TEST_CASE("keys are read as psktool writes them") {
  const auto keys = parse_preshared_keys(
      "alice:00112233445566778899aabbccddeeff\r\n\nhost:7:FFEEDDCCBBAA99887766554433221100", "keys.psk");
  REQUIRE(keys.size() == 2);
  CHECK(keys.at("alice") == test::bytes_of("00112233445566778899aabbccddeeff"));
  CHECK(keys.at("host:7") == test::bytes_of("ffeeddccbbaa99887766554433221100"));
}

TEST_CASE("keys that make no sense are refused, and not shown") {
  const std::string good = "alice:00112233445566778899aabbccddeeff\n";
  for (const std::string& line :
       {std::string("secret"), std::string(":00112233445566778899aabbccddeeff"), std::string("bob:"),
        std::string("bob:secret0secret0secret0secret0secret0"),
        std::string("bob:00112233445566778899aabbccdde"), "bob:" + std::string(32, 'g'),
        "bob:" + std::string(30, 'a'), "bob:" + std::string(258, 'a'),
        std::string(257, 'b') + ":00112233445566778899aabbccddeeff", good}) {
    CAPTURE(line);
    const auto error = error_of([&] { static_cast<void>(parse_preshared_keys(good + line, "keys.psk")); });
    const std::string message = error.what();
    CHECK(message.find("line 2 of keys.psk") == 0);
    CHECK(message.find("secret") == std::string::npos);
    CHECK(message.find("0011") == std::string::npos);
  }
  CHECK(error_of([] { static_cast<void>(parse_preshared_keys("\n", "keys.psk")); }).code() ==
        ErrorCode::kInvalid);
}

}  // namespace
}  // namespace vmpack
