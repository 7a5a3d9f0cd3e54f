// SPDX-License-Identifier: Apache-2.0
// The handshake, by the protocol's document.
#include <catch2/catch.hpp>

#include "tests/server/conformance.hpp"

namespace vmpack::test {

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

}  // namespace vmpack::test
