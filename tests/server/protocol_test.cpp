// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/protocol.hpp"

#include <catch2/catch.hpp>

#include "tests/server/bytes_of.hpp"

namespace vmpack::nbd {
namespace {

using test::bytes_of;

TEST_CASE("the greeting offers fixed newstyle without zeroes") {
  const auto greeting = encode_greeting();
  CHECK(Bytes(greeting.begin(), greeting.end()) == bytes_of("4e42444d41474943 49484156454f5054 0003"));
}

TEST_CASE("an option header is read only with its magic") {
  const auto header = decode_option_header(bytes_of("49484156454f5054 00000007 00000010"));
  REQUIRE(header);
  CHECK(header->option == Option::kGo);
  CHECK(header->bytes == 16);
  CHECK_FALSE(decode_option_header(bytes_of("49484156454f5055 00000007 00000010")));
  CHECK_FALSE(decode_option_header(bytes_of("49484156454f5054 00000007 000000")));
}

TEST_CASE("an info request names an export and what the client wants to know") {
  const Bytes data = bytes_of("00000003 776562 0004 0000 0003 0001 4242");
  const auto request = decode_info_request(data);
  REQUIRE(request);
  CHECK(request->name == "web");
  CHECK(request->wants_block_size);
  CHECK(request->wants_name);
  CHECK_FALSE(request->wants_description);
}

TEST_CASE("an info request whose lengths do not fit is refused") {
  CHECK_FALSE(decode_info_request({}));
  CHECK_FALSE(decode_info_request(bytes_of("00000003 7765")));
  CHECK_FALSE(decode_info_request(bytes_of("00000003 776562")));
  CHECK_FALSE(decode_info_request(bytes_of("00000003 776562 0001")));
  CHECK_FALSE(decode_info_request(bytes_of("00000003 776562 0000 0003")));
  CHECK_FALSE(decode_info_request(bytes_of("ffffffff 776562 0000")));
}

TEST_CASE("a metadata request is read with all its queries, and refused when its lengths do not fit") {
  const Bytes good = bytes_of("00000001 77 00000002 00000002 613a 00000000");
  const auto decoded = decode_meta_context_request(good);
  REQUIRE(decoded.request);
  CHECK(decoded.request->name == "w");
  CHECK(decoded.request->queries == std::vector<std::string_view>{"a:", ""});
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    CHECK_FALSE(decode_meta_context_request(ByteView(good).first(bytes)).request);
  }
  Bytes longer = good;
  longer.push_back(std::byte{0});
  CHECK_FALSE(decode_meta_context_request(longer).request);
}

TEST_CASE("too many metadata queries are told apart from malformed ones") {
  const auto decoded = decode_meta_context_request(bytes_of("00000000 000f4240"));
  CHECK_FALSE(decoded.request);
  CHECK(decoded.fault == MetaContextFault::kTooMany);
}

TEST_CASE("base:allocation is selected by its name, and listed by its namespace too") {
  CHECK(selects_allocation("base:allocation", false));
  CHECK(selects_allocation("base:allocation", true));
  CHECK_FALSE(selects_allocation("base:", false));
  CHECK(selects_allocation("base:", true));
  for (const auto* other : {"", "base", "base:allocation2", "qemu:allocation-depth", "BASE:ALLOCATION"}) {
    CHECK_FALSE(selects_allocation(other, true));
  }
}

TEST_CASE("option replies are laid out as the protocol says") {
  Bytes replies;
  append_option_reply(replies, Option::kAbort, OptionReply::kAck);
  CHECK(replies == bytes_of("0003e889045565a9 00000002 00000001 00000000"));
  replies.clear();
  append_server_reply(replies, Option::kList, "web:v1", "!");
  CHECK(replies == bytes_of("0003e889045565a9 00000003 00000002 0000000b 00000006 7765623a7631 21"));
  replies.clear();
  append_info_export(replies, Option::kGo, 0x1122334455667788, 0x0503);
  CHECK(replies == bytes_of("0003e889045565a9 00000007 00000003 0000000c 0000 1122334455667788 0503"));
  replies.clear();
  append_info_block_size(replies, Option::kInfo);
  CHECK(replies == bytes_of("0003e889045565a9 00000006 00000003 0000000e 0003 00000001 00001000 02000000"));
  replies.clear();
  append_meta_context(replies, Option::kSetMetaContext, 1, "a:b");
  CHECK(replies == bytes_of("0003e889045565a9 0000000a 00000004 00000007 00000001 613a62"));
  replies.clear();
  append_option_error(replies, Option::kGo, OptionReply::kErrorUnknown, "no");
  CHECK(replies == bytes_of("0003e889045565a9 00000007 80000006 00000002 6e6f"));
}

TEST_CASE("the answer to an export name ends in zeroes unless the client does not want them") {
  Bytes answer;
  append_export_name_answer(answer, 512, kHasFlags, false);
  CHECK(answer == bytes_of("0000000000000200 0001"));
  append_export_name_answer(answer, 512, kHasFlags, true);
  CHECK(answer.size() == 10 + 10 + kExportNameZeroes);
}

TEST_CASE("a request is read as it was written, and only with its magic") {
  const Request request{kFlagDontFragment, Command::kCache, 0x0102030405060708, 1ULL << 63, 0xfffffffe};
  auto bytes = encode_request(request);
  CHECK(Bytes(bytes.begin(), bytes.end()) ==
        bytes_of("25609513 0004 0005 0102030405060708 8000000000000000 fffffffe"));
  const auto read = decode_request(bytes);
  REQUIRE(read);
  CHECK(read->flags == request.flags);
  CHECK(read->command == request.command);
  CHECK(read->cookie == request.cookie);
  CHECK(read->offset == request.offset);
  CHECK(read->length == request.length);
  CHECK_FALSE(decode_request(ByteView(bytes).first(kRequestBytes - 1)));
  bytes[0] ^= std::byte{1};
  CHECK_FALSE(decode_request(bytes));
}

TEST_CASE("replies of the transmission are laid out as the protocol says") {
  Bytes reply(kSimpleReplyBytes);
  encode_simple_reply(reply.data(), Status::kInvalid, 0x0a0b);
  CHECK(reply == bytes_of("67446698 00000016 0000000000000a0b"));
  reply.resize(kDataChunkHeaderBytes);
  encode_data_chunk_header(reply.data(), 0, 0x0a0b, 0x1000, 5);
  CHECK(reply == bytes_of("668e33ef 0000 0001 0000000000000a0b 0000000d 0000000000001000"));
  mark_done(reply.data());
  CHECK(reply == bytes_of("668e33ef 0001 0001 0000000000000a0b 0000000d 0000000000001000"));
  reply.resize(kHoleChunkBytes);
  encode_hole_chunk(reply.data(), kChunkDone, 1, 2, 3);
  CHECK(reply == bytes_of("668e33ef 0001 0002 0000000000000001 0000000c 0000000000000002 00000003"));
  CHECK(encode_error_chunk(kChunkDone, 1, Status::kIo, "no") ==
        bytes_of("668e33ef 0001 8001 0000000000000001 00000008 00000005 0002 6e6f"));
  CHECK(encode_error_chunk(0, 1, Status::kIo, "", 0x77) ==
        bytes_of("668e33ef 0000 8002 0000000000000001 0000000e 00000005 0000 0000000000000077"));
  CHECK(
      encode_block_status(1, {{512, 3}, {1024, 0}}) ==
      bytes_of("668e33ef 0001 0005 0000000000000001 00000014 00000001 00000200 00000003 00000400 00000000"));
}

}  // namespace
}  // namespace vmpack::nbd
