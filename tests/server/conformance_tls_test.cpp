// SPDX-License-Identifier: Apache-2.0
// STARTTLS, by the protocol's document.
#include <catch2/catch.hpp>

#include "tests/server/conformance.hpp"

namespace vmpack::test {

TEST_CASE("NOTLS: STARTTLS is ERR_UNSUP, and no option is ever ERR_TLS_REQD") {
  ServerUnderTest under_test;
  Wire wire(under_test);
  wire.greet();
  wire.option(kStartTls);
  wire.error(kStartTls, kUnsupported);
  wire.option(kGo, string("nobody") + "0000");
  wire.error(kGo, kUnknown);
}

TEST_CASE("FORCEDTLS: everything but STARTTLS and ABORT is ERR_TLS_REQD before TLS") {
  ForcedTls peers;
  for (const auto* option : {"00000000", "00000003", "00000004", "00000006", "00000007", "00000008",
                             "00000009", "0000000a", "0000000b", "ffffffff"}) {
    for (const auto& data : {std::string(), string("web:v1") + "0000", std::string(2 * 65'537, '0')}) {
      peers.wire.option(option, data);
      peers.wire.error(option, kTlsRequired);
    }
  }
  CHECK(peers.under_test.catalog.opened == 0);
  SECTION("ABORT is acknowledged") {
    peers.wire.option(kAbort);
    peers.wire.ack(kAbort);
    peers.wire.s_closes();
  }
  SECTION("STARTTLS leads on, and ERR_TLS_REQD is not heard again") {
    peers.wire.start_tls();
    peers.wire.option(kList);
    peers.wire.reply(kList, kServer, string("web:v1") + text("a fake image"));
    peers.wire.ack(kList);
    peers.wire.option(kGo, string("nobody") + "0000");
    peers.wire.error(kGo, kUnknown);
    peers.wire.option(kGo, string("web:v1") + "0000");
    peers.wire.reply(kGo, kInfoReply, "0000" + number(kExportBytes, 16) + "0403");
    peers.wire.ack(kGo);
  }
}

TEST_CASE("FORCEDTLS: EXPORT_NAME before TLS MUST terminate the session, whatever the client's flags") {
  for (const auto* flags : {"00000000", "00000001", "00000003"}) {
    ForcedTls peers(flags);
    peers.wire.option(kExportName, text("web:v1"));
    peers.wire.s_closes();
    CHECK(peers.under_test.catalog.opened == 0);
  }
}

TEST_CASE("FORCEDTLS: EXPORT_NAME is fine after TLS") {
  ForcedTls peers;
  peers.wire.start_tls();
  peers.wire.option(kExportName, text("web:v1"));
  peers.wire.s(number(kExportBytes, 16) + "0403");
}

TEST_CASE("STARTTLS with data is ERR_INVALID, and TLS does not begin") {
  Peers peers(false);
  peers.wire.option(kStartTls, "00");
  peers.wire.error(kStartTls, kInvalid);
  peers.still_negotiates();
}

TEST_CASE("a second STARTTLS MUST be ERR_INVALID") {
  Peers peers(true);
  peers.wire.option(kStartTls);
  peers.wire.error(kStartTls, kInvalid);
  peers.still_negotiates();
}

TEST_CASE("a client that is not of fixed newstyle MUST NOT be given TLS") {
  Peers peers(false, "00000002");
  peers.wire.option(kStartTls);
  peers.wire.s_closes();
}

TEST_CASE("what was negotiated before STARTTLS MUST NOT be preserved") {
  Peers peers(false);
  peers.structured();
  peers.context();
  peers.wire.start_tls();
  SECTION("neither structured replies") {
    peers.go("0403");
    peers.wire.request(kNoFlags, kRead, kCookie, 0, 4);
    peers.wire.s("67446698 00000000 ffeeddccbbaa9988");
  }
  SECTION("nor contexts") {
    peers.structured();
    peers.go("0483");
    peers.wire.request(kNoFlags, kBlockStatus, kCookie, 0, 4096);
    peers.wire.error_chunk(kCookie, kInvalidArgument);
  }
}

TEST_CASE("plain bytes behind STARTTLS never count as if they had come through TLS") {
  ForcedTls peers;
  peers.wire.c("49484156454f5054 00000005 00000000 49484156454f5054 00000003 00000000");
  peers.wire.ack(kStartTls);
  peers.wire.s_closes_with_alert();
}

TEST_CASE("a TLS handshake that fails MUST terminate the session") {
  Peers peers(false);
  peers.wire.option(kStartTls);
  peers.wire.ack(kStartTls);
  SECTION("because the client sends something else") { peers.wire.c("16 0301 0004 02000000"); }
  SECTION("because a record is too long") { peers.wire.c("16 0303 ffff"); }
  SECTION("because the client says no") { peers.wire.c("15 0303 0002 022a"); }
  SECTION("because the client leaves") { peers.wire.client().shut_down_send(); }
  peers.wire.s_closes_with_alert();
}

TEST_CASE("what is tampered with inside TLS ends the connection") {
  Peers peers(true);
  peers.go("0403");
  peers.wire.client().bypass_tls();
  peers.wire.c("17 0303 0020" + std::string(64, 'a'));
  while (!peers.wire.client().at_end()) continue;
  CHECK(peers.under_test.stop_and_read_log().find("TLS failed") != std::string::npos);
}

}  // namespace vmpack::test
