// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/handshake.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "tests/server/fake_exports.hpp"
#include "tests/server/option_data.hpp"

namespace vmpack::nbd {
namespace {

using test::info_data;
using test::meta_data;

struct Reply {
  OptionReply type{};
  Bytes payload;
};

std::vector<Reply> parse_replies(Option option, ByteView bytes) {
  std::vector<Reply> replies;
  while (!bytes.empty()) {
    WireReader reader(bytes);
    REQUIRE(reader.number<std::uint64_t>() == kOptionReplyMagic);
    REQUIRE(reader.number<std::uint32_t>() == std::to_underlying(option));
    const auto type = static_cast<OptionReply>(reader.number<std::uint32_t>().value());
    const auto payload = reader.rest().subspan(4, reader.number<std::uint32_t>().value());
    replies.push_back({type, Bytes(payload.begin(), payload.end())});
    bytes = ByteView(payload.data() + payload.size(), bytes.data() + bytes.size());
  }
  return replies;
}

struct Client {
  Client() {
    image = std::make_shared<test::FakeImage>(1 * kMiB);
    catalog.add("web:v1", image);
    catalog.add("web@00ff", image, true);
    catalog.add("broken:v1", nullptr);
    REQUIRE(handshake.accept_client_flags(kFixedNewstyle | kNoZeroes));
  }

  std::vector<Reply> ask(Option option, ByteView data = {}) {
    last = handshake.answer(option, data);
    return parse_replies(option, last.reply);
  }
  void check_refused(Option option, ByteView data, OptionReply reply) {
    const auto replies = ask(option, data);
    REQUIRE(replies.size() == 1);
    CHECK(replies.front().type == reply);
    CHECK(last.next == Handshake::Next::kOption);
  }
  std::uint16_t flags_of(const std::vector<Reply>& replies) const {
    REQUIRE(replies.front().payload.size() == 12);
    WireReader reader(ByteView(replies.front().payload).subspan(10));
    return reader.number<std::uint16_t>().value();
  }

  std::shared_ptr<test::FakeImage> image;
  test::FakeCatalog catalog;
  std::ostringstream log_text;
  spdlog::logger log{"test", std::make_shared<spdlog::sinks::ostream_sink_st>(log_text)};
  Policy policy;
  Handshake handshake{catalog, policy, log, {.peer = "client"}};
  Handshake::Answer last;
};

TEST_CASE("flags that nobody offered end the handshake") {
  test::FakeCatalog catalog;
  spdlog::logger log("test");
  const Policy policy;
  Handshake handshake(catalog, policy, log, {.peer = "client"});
  CHECK(handshake.accept_client_flags(0));
  CHECK(handshake.accept_client_flags(3));
  CHECK_FALSE(handshake.accept_client_flags(4));
  CHECK_FALSE(handshake.accept_client_flags(0x80000001));
}

TEST_CASE("go tells of the export and begins transmission") {
  Client client;
  const auto replies = client.ask(Option::kGo, info_data("web:v1", {}));
  REQUIRE(replies.size() == 2);
  CHECK(replies[0].type == OptionReply::kInfo);
  CHECK(replies[1].type == OptionReply::kAck);
  CHECK(client.last.next == Handshake::Next::kTransmission);
  CHECK(client.handshake.agreement().exported.image == client.image);
  CHECK_FALSE(client.handshake.agreement().structured);
  CHECK_FALSE(client.handshake.agreement().block_status);
}

TEST_CASE("info tells the same and stays in the handshake, with one snapshot for both") {
  Client client;
  CHECK(client.ask(Option::kInfo, info_data("web:v1", {0, 1, 2, 3, 99})).size() == 5);
  CHECK(client.last.next == Handshake::Next::kOption);
  client.catalog.add("web:v1", std::make_shared<test::FakeImage>(2 * kMiB));  // the tag moves
  client.ask(Option::kGo, info_data("web:v1", {0, 1, 2, 3, 99}));
  CHECK(client.handshake.agreement().exported.image == client.image);
  CHECK(client.catalog.opened == 1);
}

TEST_CASE("several connections are offered only for a name that cannot move") {
  Client client;
  CHECK(client.flags_of(client.ask(Option::kInfo, info_data("web:v1", {}))) ==
        (kHasFlags | kReadOnly | kSendCache));
  CHECK(client.flags_of(client.ask(Option::kInfo, info_data("web@00ff", {}))) ==
        (kHasFlags | kReadOnly | kSendCache | kCanMultiConn));
}

TEST_CASE("unfragmented reads are offered only with structured replies") {
  Client client;
  CHECK(client.ask(Option::kStructuredReply).front().type == OptionReply::kAck);
  CHECK((client.flags_of(client.ask(Option::kGo, info_data("web:v1", {}))) & kSendDontFragment) != 0);
  CHECK(client.handshake.agreement().structured);
}

TEST_CASE("an unknown export is refused, and one that cannot be opened is logged with the reason") {
  Client client;
  client.check_refused(Option::kGo, info_data("nobody:v1", {}), OptionReply::kErrorUnknown);
  client.check_refused(Option::kGo, info_data("broken:v1", {}), OptionReply::kErrorUnknown);
  CHECK(client.log_text.str().find("maps/ab/abcd.map is damaged") != std::string::npos);
  CHECK(client.last.reply.size() > 0);
  CHECK(as_text(client.last.reply).find("abcd") == std::string_view::npos);
}

TEST_CASE("an export name begins transmission, or ends the connection") {
  Client client;
  CHECK(client.handshake.answer(Option::kExportName, as_byte_view("nobody")).next == Handshake::Next::kClose);
  const auto answer = client.handshake.answer(Option::kExportName, as_byte_view("web:v1"));
  CHECK(answer.next == Handshake::Next::kTransmission);
  CHECK(answer.reply.size() == 10);
}

TEST_CASE("a client without fixed newstyle may name an export, and nothing else") {
  Client client;
  REQUIRE(client.handshake.accept_client_flags(0));
  CHECK(client.handshake.answer(Option::kList, {}).next == Handshake::Next::kClose);
  const auto answer = client.handshake.answer(Option::kExportName, as_byte_view("web:v1"));
  CHECK(answer.next == Handshake::Next::kTransmission);
  CHECK(answer.reply.size() == 10 + kExportNameZeroes);
}

TEST_CASE("a list holds every export") {
  Client client;
  const auto replies = client.ask(Option::kList);
  REQUIRE(replies.size() == 4);
  CHECK(replies[0].type == OptionReply::kServer);
  CHECK(replies[3].type == OptionReply::kAck);
  client.check_refused(Option::kList, as_byte_view("x"), OptionReply::kErrorInvalid);
}

TEST_CASE("what a client may not open is answered as if it were not there") {
  Client client;
  client.catalog.add("secret:v1", client.image);
  client.policy.access = AccessRules({{{"web:*"}, {"*"}}});
  client.ask(Option::kStructuredReply);
  CHECK(client.ask(Option::kList).size() == 3);
  CHECK(client.ask(Option::kInfo, info_data("web@00ff", {})).back().type == OptionReply::kAck);
  const auto without_name = [](const std::vector<Reply>& replies) {
    return std::string(as_text(replies.back().payload)).substr(0, std::string("there is no export").size());
  };
  for (const auto option : {Option::kInfo, Option::kGo}) {
    const auto refused = client.ask(option, info_data("secret:v1", {}));
    const auto unknown = client.ask(option, info_data("nobody:v1", {}));
    CHECK(refused.back().type == OptionReply::kErrorUnknown);
    CHECK(without_name(refused) == without_name(unknown));
  }
  client.check_refused(Option::kSetMetaContext, meta_data("secret:v1", {"base:allocation"}),
                       OptionReply::kErrorUnknown);
  CHECK(client.handshake.answer(Option::kExportName, as_byte_view("secret:v1")).next ==
        Handshake::Next::kClose);
  // Refused before anything of it was read.
  client.check_refused(Option::kGo, info_data("broken:v1", {}), OptionReply::kErrorUnknown);
  CHECK(client.log_text.str().find("damaged") == std::string::npos);
}

TEST_CASE("the empty name is judged by what it stands for") {
  Client client;
  client.catalog.exports[""] = client.catalog.exports["web:v1"];
  client.policy.access = AccessRules({{{"web:v1"}, {"*"}}});
  CHECK(client.ask(Option::kInfo, info_data("", {})).back().type == OptionReply::kAck);
  client.catalog.exports[""].name = "secret:v1";
  client.check_refused(Option::kList, as_byte_view("x"), OptionReply::kErrorInvalid);
  client.ask(Option::kInfo, info_data("web:v1", {}));  // forgets what was open
  client.check_refused(Option::kInfo, info_data("", {}), OptionReply::kErrorUnknown);
}

TEST_CASE("abort is acknowledged and ends the connection, whatever comes with it") {
  Client client;
  CHECK(client.ask(Option::kAbort, as_byte_view("bye")).front().type == OptionReply::kAck);
  CHECK(client.last.next == Handshake::Next::kClose);
}

TEST_CASE("unknown options and TLS are refused, and the handshake goes on") {
  Client client;
  client.check_refused(Option::kStartTls, {}, OptionReply::kErrorUnsupported);
  client.check_refused(static_cast<Option>(4), {}, OptionReply::kErrorUnsupported);
  client.check_refused(static_cast<Option>(11), {}, OptionReply::kErrorUnsupported);
  client.check_refused(static_cast<Option>(0xffffffff), as_byte_view("data"), OptionReply::kErrorUnsupported);
}

TEST_CASE("malformed data is refused, and the handshake goes on") {
  Client client;
  client.ask(Option::kStructuredReply);
  for (const auto option : {Option::kInfo, Option::kGo, Option::kListMetaContext, Option::kSetMetaContext}) {
    client.check_refused(option, {}, OptionReply::kErrorInvalid);
    client.check_refused(option, as_byte_view("garbage!"), OptionReply::kErrorInvalid);
  }
  client.check_refused(Option::kStructuredReply, as_byte_view("x"), OptionReply::kErrorInvalid);
}

TEST_CASE("a context is selected for one export, and for no other") {
  Client client;
  client.ask(Option::kStructuredReply);
  const auto selected = client.ask(Option::kSetMetaContext, meta_data("web:v1", {"x:y", "base:allocation"}));
  REQUIRE(selected.size() == 2);
  CHECK(selected[0].type == OptionReply::kMetaContext);
  SECTION("the same export") {
    client.ask(Option::kGo, info_data("web:v1", {}));
    CHECK(client.handshake.agreement().block_status);
  }
  SECTION("another export") {
    client.ask(Option::kGo, info_data("web@00ff", {}));
    CHECK_FALSE(client.handshake.agreement().block_status);
  }
  SECTION("unselected by a later request without it") {
    CHECK(client.ask(Option::kSetMetaContext, meta_data("web:v1", {"base:"})).size() == 1);
    client.ask(Option::kGo, info_data("web:v1", {}));
    CHECK_FALSE(client.handshake.agreement().block_status);
  }
  SECTION("unselected by a later request that fails") {
    client.check_refused(Option::kSetMetaContext, {}, OptionReply::kErrorInvalid);
    client.ask(Option::kGo, info_data("web:v1", {}));
    CHECK_FALSE(client.handshake.agreement().block_status);
  }
}

TEST_CASE("contexts are listed for no query and for the wildcard, and selected by neither") {
  Client client;
  client.check_refused(Option::kSetMetaContext, meta_data("web:v1", {}), OptionReply::kErrorInvalid);
  client.ask(Option::kStructuredReply);
  CHECK(client.ask(Option::kListMetaContext, meta_data("web:v1", {})).size() == 2);
  CHECK(client.ask(Option::kListMetaContext, meta_data("web:v1", {"base:"})).size() == 2);
  CHECK(client.ask(Option::kListMetaContext, meta_data("web:v1", {"x-other:"})).size() == 1);
  CHECK(client.ask(Option::kSetMetaContext, meta_data("web:v1", {})).size() == 1);
  CHECK(client.ask(Option::kSetMetaContext, meta_data("web:v1", {"base:"})).size() == 1);
  client.check_refused(Option::kListMetaContext, meta_data("nobody", {}), OptionReply::kErrorUnknown);
  client.check_refused(Option::kListMetaContext, meta_data("web:v1", std::vector<std::string>(100, "a:")),
                       OptionReply::kErrorTooBig);
}

TEST_CASE("oversized options are refused, and end the handshake where no reply can be sent") {
  Client client;
  const auto answer = client.handshake.answer_oversized(Option::kGo);
  CHECK(parse_replies(Option::kGo, answer.reply).front().type == OptionReply::kErrorTooBig);
  CHECK(client.handshake.answer_oversized(Option::kExportName).next == Handshake::Next::kClose);
}

}  // namespace
}  // namespace vmpack::nbd
