// SPDX-License-Identifier: Apache-2.0
// Transmission, by the protocol's document.
#include <catch2/catch.hpp>

#include "tests/server/conformance.hpp"

namespace vmpack::test {

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

}  // namespace vmpack::test
