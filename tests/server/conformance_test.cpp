// SPDX-License-Identifier: Apache-2.0
// The protocol's document (doc/proto.md of the NetworkBlockDevice project), clause by clause: right and wrong
// sequences, in plain and through TLS. Numbers are written as they stand there, not as our sources name them.
#include <catch2/catch.hpp>

#include "tests/server/wire.hpp"

namespace vmpack::test {
namespace {

constexpr std::string_view kExportName = "00000001";
constexpr std::string_view kAbort = "00000002";
constexpr std::string_view kList = "00000003";
constexpr std::string_view kStartTls = "00000005";
constexpr std::string_view kInfo = "00000006";
constexpr std::string_view kGo = "00000007";
constexpr std::string_view kStructuredReply = "00000008";
constexpr std::string_view kListMeta = "00000009";
constexpr std::string_view kSetMeta = "0000000a";

constexpr std::string_view kServer = "00000002";
constexpr std::string_view kInfoReply = "00000003";
constexpr std::string_view kMeta = "00000004";
constexpr std::string_view kUnsupported = "80000001";
constexpr std::string_view kInvalid = "80000003";
constexpr std::string_view kTlsRequired = "80000005";
constexpr std::string_view kUnknown = "80000006";
constexpr std::string_view kShutdown = "80000007";
constexpr std::string_view kTooBig = "80000009";

constexpr std::string_view kRead = "0000";
constexpr std::string_view kWrite = "0001";
constexpr std::string_view kDisconnect = "0002";
constexpr std::string_view kFlush = "0003";
constexpr std::string_view kTrim = "0004";
constexpr std::string_view kCache = "0005";
constexpr std::string_view kWriteZeroes = "0006";
constexpr std::string_view kBlockStatus = "0007";
constexpr std::string_view kNoFlags = "0000";
constexpr std::string_view kDontFragment = "0004";
constexpr std::string_view kRequestOne = "0008";

constexpr std::string_view kPermission = "00000001";
constexpr std::string_view kInvalidArgument = "00000016";
constexpr std::string_view kOverflow = "0000004b";

constexpr std::string_view kCookie = "ffeeddccbbaa9988";
constexpr std::uint64_t kExportBytes = 8 * kMiB;
constexpr std::uint64_t kZerosAt = 1 * kMiB;  // as far as 3 MiB

/// A server that offers TLS, and a client that is greeted, in plain or through TLS.
struct Peers {
  explicit Peers(bool tls = GENERATE(false, true), std::string_view client_flags = "00000003")
      : under_test(Settings{.tls = tls_files().certificates(TlsMode::kOffered)}), wire(under_test) {
    under_test.catalog.add("web@00ff", under_test.image, true);
    under_test.catalog.add("broken:v1", nullptr);
    wire.greet(client_flags);
    if (tls) wire.start_tls();
  }
  void structured() {
    wire.option(kStructuredReply);
    wire.ack(kStructuredReply);
  }
  void context(std::string_view name = "web:v1") {
    wire.option(kSetMeta, string(name) + "00000001" + string("base:allocation"));
    wire.reply(kSetMeta, kMeta, "00000001" + text("base:allocation"));
    wire.ack(kSetMeta);
  }
  void go(std::string_view flags, std::string_view name = "web:v1") {
    wire.option(kGo, string(name) + "0000");
    wire.reply(kGo, kInfoReply, "0000" + number(kExportBytes, 16) + std::string(flags));
    wire.ack(kGo);
  }
  /// Into transmission, with everything that there is to negotiate.
  void go_structured() {
    structured();
    context();
    go("0483");
  }
  [[nodiscard]] Bytes content(std::uint64_t offset, std::uint64_t length) const {
    return under_test.content(offset, length);
  }
  /// The connection is where it should be, and goes on.
  void still_reads_structured() {
    wire.request(kNoFlags, kRead, "0000000000000007", 512, 16);
    wire.s("668e33ef 0001 0001 0000000000000007 00000018 0000000000000200");
    CHECK(wire.receive(16) == content(512, 16));
  }
  void still_negotiates() {
    wire.option(kInfo, string("web:v1") + "0000");
    wire.s("0003e889045565a9");
    wire.s(kInfo);
    wire.s(kInfoReply);
    static_cast<void>(wire.receive(4 + 12));
    wire.ack(kInfo);
  }

  ServerUnderTest under_test;
  Wire wire;
};

/// A server that insists on TLS.
struct ForcedTls {
  explicit ForcedTls(std::string_view client_flags = "00000003")
      : under_test(Settings{.tls = tls_files().certificates(TlsMode::kRequired)}), wire(under_test) {
    wire.greet(client_flags);
  }
  ServerUnderTest under_test;
  Wire wire;
};

// ---- handshake ----

TEST_CASE("the server speaks first: NBDMAGIC, IHAVEOPT, fixed newstyle and no zeroes, and no other flag") {
  ServerUnderTest under_test;
  Wire(under_test).s("4e42444d41474943 49484156454f5054 0003");
}

TEST_CASE("the server MUST drop the connection if the client sets an unknown flag") {
  for (const auto* flags : {"00000004", "00000007", "80000003", "00010003"}) {
    ServerUnderTest under_test;
    Wire wire(under_test);
    wire.greet(flags);
    wire.s_closes();
  }
}

TEST_CASE("EXPORT_NAME ends haggling, without the 124 zeroes where nobody wants them") {
  Peers peers;
  peers.wire.option(kExportName, text("web:v1"));
  peers.wire.s(number(kExportBytes, 16) + "0403");
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 4);
  peers.wire.s("67446698 00000000 ffeeddccbbaa9988");
  CHECK(peers.wire.receive(4) == peers.content(0, 4));
}

TEST_CASE("EXPORT_NAME ends haggling, with 124 zeroes where they were not declined") {
  Peers peers(false, "00000001");
  peers.wire.option(kExportName, text("web:v1"));
  peers.wire.s(number(kExportBytes, 16) + "0403" + std::string(248, '0'));
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 4);
  peers.wire.s("67446698 00000000 ffeeddccbbaa9988");
}

TEST_CASE("a client of newstyle that is not fixed may name an export") {
  Peers peers(false, "00000000");
  peers.wire.option(kExportName, text("web:v1"));
  peers.wire.s(number(kExportBytes, 16) + "0403" + std::string(248, '0'));
}

TEST_CASE("EXPORT_NAME that cannot be satisfied MUST terminate the session") {
  for (const auto& name : {text("nobody"), text("broken:v1"), std::string(), std::string(2 * 5000, '6'),
                           text(std::string_view("web:v1\0", 7)), std::string("ff")}) {
    Peers peers(false);
    peers.wire.option(kExportName, name);
    peers.wire.s_closes();
  }
}

TEST_CASE("the empty name is the default export, if there is one") {
  Peers peers;
  peers.wire.option(kInfo, "00000000 0000");
  peers.wire.error(kInfo, kUnknown);
  peers.under_test.catalog.add("", peers.under_test.image);
  peers.go("0403", "");
}

TEST_CASE("unknown options are answered with ERR_UNSUP, and the next message is understood") {
  Peers peers;
  for (const auto* option : {"00000000", "00000004", "0000000b", "0000000c", "7fffffff", "ffffffff"}) {
    for (const auto& data : {std::string(), text("data"), std::string(2000, 'a')}) {
      peers.wire.option(option, data);
      peers.wire.error(option, kUnsupported);
    }
  }
  peers.still_negotiates();
}

TEST_CASE("an option whose magic is wrong is not answered") {
  Peers peers;
  peers.wire.c("49484156454f5055 00000003 00000000");
  peers.wire.s_closes();
}

TEST_CASE("options may arrive byte by byte, and several at once") {
  Peers peers;
  const std::string list = "49484156454f5054 00000008 00000000";
  const Bytes bytes = bytes_of(list);
  for (const std::byte& byte : bytes) peers.wire.client().send(ByteView(&byte, 1));
  peers.wire.ack(kStructuredReply);
  peers.wire.c(list + list + list);
  for (int i = 0; i < 3; ++i) peers.wire.ack(kStructuredReply);
}

TEST_CASE("ABORT MUST be acknowledged, and data with it SHOULD be ignored") {
  for (const auto& data : {std::string(), text("bye"), std::string(2 * 70'000, '0')}) {
    Peers peers(false);
    peers.wire.option(kAbort, data);
    peers.wire.ack(kAbort);
    peers.wire.s_closes();
  }
  Peers peers(true);
  peers.wire.option(kAbort);
  peers.wire.ack(kAbort);
  peers.wire.s_closes();
}

TEST_CASE("a client may send ABORT and leave without waiting") {
  Peers peers;
  peers.wire.option(kAbort);
  peers.wire.client().close();
  CHECK(ServerUnderTest::eventually([&] { return peers.under_test.server->connections() == 0; }));
}

TEST_CASE("LIST gives one SERVER for each export, then an ACK; with data it is ERR_INVALID") {
  Peers peers;
  peers.wire.option(kList, "00");
  peers.wire.error(kList, kInvalid);
  peers.wire.option(kList);
  for (const auto* name : {"broken:v1", "web:v1", "web@00ff"})
    peers.wire.reply(kList, kServer, string(name) + text("a fake image"));
  peers.wire.ack(kList);
  peers.still_negotiates();
}

TEST_CASE("LIST gives thousands of exports") {
  Peers peers;
  peers.under_test.catalog.exports.clear();
  for (int i = 10'000; i < 15'000; ++i)
    peers.under_test.catalog.add(fmt::format("image-{}-{}:v1", i, std::string(100, 'x')),
                                 peers.under_test.image);
  peers.wire.option(kList);
  for (int i = 10'000; i < 15'000; ++i) {
    const auto name = fmt::format("image-{}-{}:v1", i, std::string(100, 'x'));
    peers.wire.reply(kList, kServer, string(name) + text("a fake image"));
  }
  peers.wire.ack(kList);
}

TEST_CASE("INFO tells of an export and stays; unknown information requests MUST be ignored") {
  Peers peers;
  peers.wire.option(kInfo, string("web:v1") + "0005 0000 0001 0002 0003 ffff");
  peers.wire.reply(kInfo, kInfoReply, "0000" + number(kExportBytes, 16) + "0403");
  peers.wire.reply(kInfo, kInfoReply, "0001" + text("web:v1"));
  peers.wire.reply(kInfo, kInfoReply, "0002" + text("a fake image"));
  peers.wire.reply(kInfo, kInfoReply, "0003 00000001 00001000 02000000");
  peers.wire.ack(kInfo);
  peers.still_negotiates();
}

TEST_CASE("a client may ask about every export that a long list told it of, within one handshake") {
  Peers peers;
  for (int i = 0; i < 1000; ++i) {
    peers.wire.option(kInfo, string("web:v1") + "0000");
    peers.wire.reply(kInfo, kInfoReply, "0000" + number(kExportBytes, 16) + "0403");
    peers.wire.ack(kInfo);
  }
  peers.still_negotiates();
}

TEST_CASE("GO with the parameters of an INFO before it tells the same") {
  Peers peers;
  for (const auto option : {kInfo, kGo}) {
    peers.wire.option(option, string("web:v1") + "0002 0003 0002");
    peers.wire.reply(option, kInfoReply, "0000" + number(kExportBytes, 16) + "0403");
    peers.wire.reply(option, kInfoReply, "0002" + text("a fake image"));
    peers.wire.reply(option, kInfoReply, "0003 00000001 00001000 02000000");
    peers.wire.ack(option);
  }
}

TEST_CASE("GO MUST NOT send padding, also to a client that did not decline zeroes") {
  Peers peers(GENERATE(false, true), "00000001");
  peers.go("0403");
  peers.wire.request(kNoFlags, kRead, kCookie, 9, 1);
  peers.wire.s("67446698 00000000 ffeeddccbbaa9988");
}

TEST_CASE("an unknown export is ERR_UNKNOWN without any information, and haggling goes on") {
  Peers peers;
  for (const auto option : {kInfo, kGo}) {
    for (const auto& name : {std::string("nobody"), std::string("broken:v1"), std::string(4096, 'n'),
                             std::string("web:v1\0", 7), std::string("\xff\xfe")}) {
      peers.wire.option(option, string(name) + "0001 0001");
      peers.wire.error(option, kUnknown);
    }
  }
  peers.still_negotiates();
}

TEST_CASE("INFO and GO whose lengths contradict each other are ERR_INVALID") {
  Peers peers;
  for (const auto option : {kInfo, kGo}) {
    for (const auto& data : {std::string(), std::string("00"), std::string("00000006") + text("web:v1"),
                             std::string("00000007") + text("web:v1") + "0000",
                             std::string("ffffffff") + text("web:v1") + "0000", string("web:v1") + "0001",
                             string("web:v1") + "0000 0000", string("web:v1") + "ffff 0000",
                             string(std::string(4097, 'n')) + "0000"}) {
      peers.wire.option(option, data);
      peers.wire.error(option, kInvalid);
    }
  }
  peers.still_negotiates();
}

TEST_CASE("an option with more data than the server looks at is ERR_TOO_BIG, and haggling goes on") {
  Peers peers;
  for (const auto option : {kList, kInfo, kGo, kStructuredReply, kListMeta, kSetMeta}) {
    peers.wire.option(option, std::string(2 * 65'537, '0'));
    peers.wire.error(option, kTooBig);
  }
  peers.still_negotiates();
}

TEST_CASE("STRUCTURED_REPLY is acknowledged, also twice; with data it is ERR_INVALID") {
  Peers peers;
  peers.wire.option(kStructuredReply, "00");
  peers.wire.error(kStructuredReply, kInvalid);
  peers.go("0403");  // and was not negotiated
}

TEST_CASE("without structured replies there are no metadata contexts") {
  Peers peers;
  for (const auto option : {kListMeta, kSetMeta}) {
    peers.wire.option(option, string("web:v1") + "00000001" + string("base:allocation"));
    peers.wire.error(option, kInvalid);
  }
}

TEST_CASE("LIST_META_CONTEXT lists for no query, for the wildcard and for the name; ids are zero") {
  Peers peers;
  peers.structured();
  for (const auto& queries :
       {std::string("00000000"), "00000001" + string("base:"), "00000001" + string("base:allocation"),
        "00000003" + string("x-unknown:") + string("base:") + string("base:allocation")}) {
    peers.wire.option(kListMeta, string("web:v1") + queries);
    peers.wire.reply(kListMeta, kMeta, "00000000" + text("base:allocation"));
    peers.wire.ack(kListMeta);
  }
}

TEST_CASE("queries of unknown namespaces and leaves MUST be ignored") {
  Peers peers;
  peers.structured();
  for (const auto option : {kListMeta, kSetMeta}) {
    for (const auto* query : {"x-unknown:", "x-unknown:leaf", "base:dirty", "qemu:dirty-bitmap:x", "qemu:"}) {
      peers.wire.option(option, string("web:v1") + "00000001" + string(query));
      peers.wire.ack(option);
    }
  }
}

TEST_CASE("SET_META_CONTEXT with the wildcard or without a query selects nothing") {
  Peers peers;
  peers.structured();
  for (const auto& queries : {std::string("00000000"), "00000001" + string("base:")}) {
    peers.wire.option(kSetMeta, string("web:v1") + queries);
    peers.wire.ack(kSetMeta);
  }
}

TEST_CASE("metadata options whose lengths contradict each other are ERR_INVALID") {
  Peers peers;
  peers.structured();
  for (const auto option : {kListMeta, kSetMeta}) {
    for (const auto& data : {std::string(), string("web:v1"), string("web:v1") + "00000001",
                             string("web:v1") + "00000001 00000005" + text("base"),
                             string("web:v1") + "00000002" + string("base:"),
                             string("web:v1") + "00000001" + string("base:") + "00",
                             string("web:v1") + "00000001 ffffffff", std::string("ffffffff 00000000")}) {
      peers.wire.option(option, data);
      peers.wire.error(option, kInvalid);
    }
  }
}

TEST_CASE("a metadata request that fails replaces what was selected before") {
  Peers peers;
  peers.structured();
  peers.context();
  peers.wire.option(kSetMeta, string("nobody") + "00000001" + string("base:allocation"));
  peers.wire.error(kSetMeta, kUnknown);
  peers.go("0483");
  peers.wire.request(kNoFlags, kBlockStatus, kCookie, 0, 4096);
  peers.wire.error_chunk(kCookie, kInvalidArgument);
}

TEST_CASE("a context that was selected for another export counts for nothing") {
  Peers peers;
  peers.structured();
  peers.context("web@00ff");
  peers.go("0483");
  peers.wire.request(kNoFlags, kBlockStatus, kCookie, 0, 4096);
  peers.wire.error_chunk(kCookie, kInvalidArgument);
}

TEST_CASE("a server that is being stopped answers with ERR_SHUTDOWN what is asked for") {
  Peers peers;
  Gate gate;
  peers.under_test.catalog.before_open = [&] { gate.wait(); };
  peers.wire.option(kGo, string("web:v1") + "0000");
  REQUIRE(ServerUnderTest::eventually([&] { return peers.under_test.catalog.opened == 1; }));
  peers.under_test.server->begin_stop();
  gate.open();
  peers.wire.error(kGo, kShutdown);
  peers.wire.s_closes();
}

// ---- TLS ----

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

// ---- transmission ----

TEST_CASE("a simple reply has the cookie that the client chose, and the data") {
  Peers peers;
  peers.go("0403");
  for (const auto* cookie : {"0000000000000000", "ffffffffffffffff", "6744669800000000"}) {
    peers.wire.request(kNoFlags, kRead, cookie, 513, 1000);
    peers.wire.s("67446698 00000000");
    peers.wire.s(cookie);
    CHECK(peers.wire.receive(1000) == peers.content(513, 1000));
  }
}

TEST_CASE("a simple reply that is an error has no data") {
  Peers peers;
  peers.go("0403");
  peers.wire.request(kNoFlags, kRead, kCookie, kExportBytes, 1);
  peers.wire.s("67446698 00000016 ffeeddccbbaa9988");
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 33 * kMiB);
  peers.wire.s("67446698 00000016 ffeeddccbbaa9988");
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 1);
  peers.wire.s("67446698 00000000 ffeeddccbbaa9988");
}

TEST_CASE("without structured replies the flag for unfragmented reads is unknown") {
  Peers peers;
  peers.go("0403");
  peers.wire.request(kDontFragment, kRead, kCookie, 0, 512);
  peers.wire.s("67446698 00000016 ffeeddccbbaa9988");
}

TEST_CASE("a structured read has data chunks with their offset, and its last chunk says so") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kRead, kCookie, 1000, 24);
  peers.wire.s("668e33ef 0001 0001 ffeeddccbbaa9988 00000020 00000000000003e8");
  CHECK(peers.wire.receive(24) == peers.content(1000, 24));
}

TEST_CASE("a structured read of zeros is a hole chunk") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kRead, kCookie, kZerosAt, 65'536);
  peers.wire.s("668e33ef 0001 0002 ffeeddccbbaa9988 0000000c 0000000000100000 00010000");
}

TEST_CASE("an unfragmented read has one content chunk with zeroes explicitly present, of 64 KiB at least") {
  Peers peers;
  peers.go_structured();
  for (const std::uint64_t length : {512UL, 65'536UL, 4 * kMiB}) {
    const std::uint64_t offset = kZerosAt - 256;
    peers.wire.request(kDontFragment, kRead, kCookie, offset, length);
    peers.wire.s("668e33ef 0001 0001 ffeeddccbbaa9988" + number(length + 8, 8) + number(offset, 16));
    CHECK(peers.wire.receive(length) == peers.content(offset, length));
  }
}

TEST_CASE("after structured replies were negotiated, a read MUST NOT be answered with a simple reply") {
  Peers peers;
  peers.go_structured();
  peers.wire.request("8000", kRead, kCookie, 0, 512);
  peers.wire.error_chunk(kCookie, kInvalidArgument);
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 33 * kMiB);
  peers.wire.error_chunk(kCookie, kInvalidArgument);  // behind the export
  peers.still_reads_structured();
}

TEST_CASE("a read that is longer than the largest payload is EOVERFLOW with structured replies") {
  ServerUnderTest under_test(ServerLimits{}, 40 * kMiB);
  Wire wire(under_test);
  wire.greet();
  wire.option(kStructuredReply);
  wire.ack(kStructuredReply);
  wire.option(kExportName, text("web:v1"));
  wire.s(number(40 * kMiB, 16) + "0483");
  for (const auto flags : {kNoFlags, kDontFragment}) {
    wire.request(flags, kRead, kCookie, 0, 32 * kMiB + 1);
    wire.error_chunk(kCookie, kOverflow);
  }
}

TEST_CASE("whatever ends behind the export is EINVAL, also where offset and length overflow") {
  Peers peers;
  peers.go_structured();
  constexpr std::uint64_t kLast = ~std::uint64_t{0};
  for (const auto command : {kRead, kCache, kBlockStatus}) {
    for (const auto& [offset, length] :
         {std::pair(kExportBytes, 1UL), std::pair(kExportBytes - 1, 2UL), std::pair(kExportBytes + 1, 0UL),
          std::pair(0UL, kExportBytes + 1), std::pair(1UL << 63, 512UL), std::pair((1UL << 63) - 1, 1UL),
          std::pair(kLast, 1UL), std::pair(kLast, 0xffffffffUL), std::pair(kLast - 511, 512UL),
          std::pair(0UL, 0xffffffffUL)}) {
      peers.wire.request(kNoFlags, command, kCookie, offset, length);
      peers.wire.error_chunk(kCookie, kInvalidArgument);
    }
  }
  peers.still_reads_structured();
}

TEST_CASE("a request without a length is answered, and the connection goes on") {
  Peers peers;
  peers.go_structured();
  for (const auto command : {kRead, kCache}) {
    peers.wire.request(kNoFlags, command, kCookie, 4096, 0);
    peers.wire.s("668e33ef 0001 0000 ffeeddccbbaa9988 00000000");
  }
  peers.wire.request(kNoFlags, kBlockStatus, kCookie, 4096, 0);
  peers.wire.error_chunk(kCookie, kInvalidArgument);
  peers.wire.request(kNoFlags, kWrite, kCookie, 4096, 0);
  peers.wire.error_chunk(kCookie, kPermission);
  peers.still_reads_structured();
}

TEST_CASE("whatever would change a read-only export is EPERM, and its data is not taken for requests") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kWrite, kCookie, 0, 28);
  peers.wire.c(
      "25609513 0000 0000 0000000000000001 0000000000000000 00000200");  // data, though it looks like one
  peers.wire.error_chunk(kCookie, kPermission);
  for (const auto command : {kTrim, kWriteZeroes}) {
    for (const auto* flags : {"0000", "0001", "0002", "0010"}) {
      peers.wire.request(flags, command, kCookie, 0, 4096);
      peers.wire.error_chunk(kCookie, kPermission);
    }
  }
  peers.still_reads_structured();
}

TEST_CASE("a flag that is not documented for its command is EINVAL") {
  Peers peers;
  peers.go_structured();
  for (const auto command : {kRead, kCache, kBlockStatus}) {
    for (unsigned bit = 0; bit < 16; ++bit) {
      const bool known = (command == kRead && bit == 2) || (command == kBlockStatus && bit == 3);
      if (known) continue;
      peers.wire.request(number(1U << bit, 4), command, kCookie, 0, 512);
      peers.wire.error_chunk(kCookie, kInvalidArgument);
    }
  }
  peers.still_reads_structured();
}

TEST_CASE("an unknown command is EINVAL, and the connection goes on") {
  Peers peers;
  peers.go_structured();
  for (const auto* command : {"0008", "0009", "00ff", "8000", "ffff"}) {
    peers.wire.request(kNoFlags, command, kCookie, 0, 512);
    peers.wire.error_chunk(kCookie, kInvalidArgument);
  }
  peers.still_reads_structured();
}

TEST_CASE("a request without its magic ends the connection, those of extended headers included") {
  for (const auto* magic : {"00000000", "21e41c71", "12560953", "67446698"}) {
    Peers peers(false);
    peers.go_structured();
    peers.wire.c(std::string(magic) + "0000 0000 0000000000000001 0000000000000000 00000200");
    peers.wire.s_closes();
  }
}

TEST_CASE("FLUSH succeeds where nothing was written") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kFlush, kCookie, 0, 0);
  peers.wire.s("668e33ef 0001 0000 ffeeddccbbaa9988 00000000");
}

TEST_CASE("CACHE is answered without data, and changes nothing about reads") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kCache, kCookie, 0, kExportBytes);
  peers.wire.s("668e33ef 0001 0000 ffeeddccbbaa9988 00000000");
  peers.still_reads_structured();
}

TEST_CASE("BLOCK_STATUS gives consecutive extents of the context, from the offset that was asked for") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kBlockStatus, kCookie, kZerosAt - 4096, 8 * kMiB - kZerosAt);
  peers.wire.s("668e33ef 0001 0005 ffeeddccbbaa9988 0000001c 00000001");
  peers.wire.s("00001000 00000000 00200000 00000003 004ff000 00000000");
}

TEST_CASE("BLOCK_STATUS for one extent gives one, not longer than what was asked for") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kRequestOne, kBlockStatus, kCookie, kZerosAt, 4096);
  peers.wire.s("668e33ef 0001 0005 ffeeddccbbaa9988 0000000c 00000001 00001000 00000003");
  peers.wire.request(kRequestOne, kBlockStatus, kCookie, kZerosAt - 512, 8192);
  peers.wire.s("668e33ef 0001 0005 ffeeddccbbaa9988 0000000c 00000001 00000200 00000000");
}

TEST_CASE("DISC: outstanding requests are handled, nothing is replied to it, and the connection is closed") {
  Peers peers;
  peers.go_structured();
  peers.wire.request(kNoFlags, kFlush, "0000000000000001", 0, 0);
  peers.wire.request(kNoFlags, kRead, kCookie, 0, 4);
  peers.wire.request(kNoFlags, kDisconnect, "0000000000000002", 0, 0);
  peers.wire.s("668e33ef 0001 0000 0000000000000001 00000000");
  peers.wire.s("668e33ef 0001 0001 ffeeddccbbaa9988 0000000c 0000000000000000");
  CHECK(peers.wire.receive(4) == peers.content(0, 4));
  peers.wire.s_closes();
}

TEST_CASE("requests may arrive byte by byte, and many at once") {
  Peers peers;
  peers.go_structured();
  const auto request = [](std::uint64_t cookie) {
    return bytes_of("25609513 0000 0003" + number(cookie, 16) + std::string(24, '0'));
  };
  Bytes many;
  for (std::uint64_t cookie = 0; cookie < 2000; ++cookie) append(many, request(cookie));
  for (const std::byte& byte : request(5000)) peers.wire.client().send(ByteView(&byte, 1));
  peers.wire.s("668e33ef 0001 0000 0000000000001388 00000000");
  peers.wire.client().send(many);
  for (std::uint64_t cookie = 0; cookie < 2000; ++cookie)
    peers.wire.s("668e33ef 0001 0000" + number(cookie, 16) + "00000000");
}

TEST_CASE("several requests with one cookie are each answered") {
  Peers peers;
  peers.go_structured();
  for (int i = 0; i < 3; ++i) peers.wire.request(kNoFlags, kFlush, kCookie, 0, 0);
  for (int i = 0; i < 3; ++i) peers.wire.s("668e33ef 0001 0000 ffeeddccbbaa9988 00000000");
}

}  // namespace
}  // namespace vmpack::test
