// SPDX-License-Identifier: Apache-2.0
// Requests and replies over a real socket: what a well-behaved client sees.
#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "tests/server/client.hpp"
#include "tests/server/server_under_test.hpp"

namespace vmpack::nbd {
namespace {

using test::Client;
using test::Gate;
using test::ServerUnderTest;

bool always(std::uint64_t) { return true; }

void fail_at(test::FakeImage& image, std::uint64_t bad_offset) {
  image.before_read = [bad_offset](std::uint64_t offset) {
    if (offset == bad_offset) throw Error(ErrorCode::kDamaged, "packs/ab/abcd.pack is damaged");
  };
}

TEST_CASE("a client reads what the image holds, at any offset and length") {
  ServerUnderTest under_test;
  if (GENERATE(true, false)) under_test.image->in_memory = always;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  test::Random random(1);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t offset = random.below(under_test.image->size());
    const auto length = static_cast<std::uint32_t>(
        1 + random.below(std::min<std::uint64_t>(under_test.image->size() - offset, 700'000)));
    REQUIRE(client.read(offset, length) == under_test.content(offset, length));
  }
  CHECK(client.read(0, 8 * kMiB) == under_test.image->content);
}

TEST_CASE("a client without structured replies reads the same") {
  ServerUnderTest under_test;
  if (GENERATE(true, false)) under_test.image->in_memory = always;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1", false));
  for (const std::uint32_t length : {1U, 4096U, 262'145U, 8U * 1024 * 1024}) {
    client.request(Command::kRead, length, 0, length);
    const auto reply = client.next_simple_reply(length);
    CHECK(reply.cookie == length);
    CHECK(reply.data == under_test.content(0, length));
  }
}

TEST_CASE("an unfragmented read comes in one piece, zeros and all") {
  ServerUnderTest under_test;
  if (GENERATE(true, false)) under_test.image->in_memory = always;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kRead, 1, 512, 4 * kMiB, kFlagDontFragment);
  const auto reply = client.next_reply();
  CHECK(reply.chunks.pieces.size() == 1);
  CHECK(reply.chunks.content(512, 4 * kMiB) == under_test.content(512, 4 * kMiB));
}

TEST_CASE("what is in memory is not held up by what is not") {
  ServerUnderTest under_test;
  Gate gate;
  under_test.image->in_memory = [](std::uint64_t offset) { return offset >= 4096; };
  under_test.image->before_read = [&](std::uint64_t) { gate.wait(); };
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kRead, 1, 0, 4096);
  client.request(Command::kRead, 2, 8192, 4096);
  CHECK(client.next_reply().cookie == 2);
  gate.open();
  const auto late = client.next_reply();
  CHECK(late.cookie == 1);
  CHECK(late.chunks.content(0, 4096) == under_test.content(0, 4096));
}

TEST_CASE("a large read of which only parts are in memory comes back whole") {
  ServerUnderTest under_test;
  const unsigned pattern = GENERATE(range(0U, 16U));
  under_test.image->in_memory = [pattern](std::uint64_t offset) {
    return (pattern >> (offset / (256 * kKiB) % 4) & 1) != 0;
  };
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t cookie = 0; cookie < 10; ++cookie) client.request(Command::kRead, cookie, 0, 2 * kMiB);
  std::set<std::uint64_t> cookies;
  for (int i = 0; i < 10; ++i) {
    const auto reply = client.next_reply();
    cookies.insert(reply.cookie);
    CHECK(reply.chunks.content(0, 2 * kMiB) == under_test.content(0, 2 * kMiB));
  }
  CHECK(cookies.size() == 10);
}

TEST_CASE("a damaged frame is an error to the client and a log line, and the connection goes on") {
  ServerUnderTest under_test;
  fail_at(*under_test.image, 4096);
  {
    Client client = under_test.connect();
    REQUIRE(client.open("web:v1"));
    for (int i = 0; i < 3; ++i) {
      client.request(Command::kRead, 1, 4096, 4096);
      const auto reply = client.next_reply();
      CHECK(reply.chunks.error == Status::kIo);
      CHECK(reply.chunks.error_offset == 4096);
      CHECK(reply.chunks.pieces.empty());
    }
    CHECK(client.read(8192, 4096) == under_test.content(8192, 4096));
  }
  const auto log = under_test.stop_and_read_log();
  const auto first = log.find("packs/ab/abcd.pack is damaged");
  CHECK(first != std::string::npos);
  CHECK(log.find("packs/ab/abcd.pack is damaged", first + 1) ==
        std::string::npos);  // said once, not for every retry
}

TEST_CASE("damage within a large read fails that read alone") {
  ServerUnderTest under_test;
  fail_at(*under_test.image, 512 * kKiB);
  if (GENERATE(true, false)) {
    under_test.image->in_memory = [](std::uint64_t offset) { return offset != 512 * kKiB; };
  }
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kRead, 1, 0, 1 * kMiB);
  const auto reply = client.next_reply();
  CHECK(reply.chunks.error == Status::kIo);
  CHECK(reply.chunks.error_offset == 512 * kKiB);
  client.request(Command::kRead, 2, 512 * kKiB, 64 * kKiB, kFlagDontFragment);
  CHECK(client.next_reply().chunks.error == Status::kIo);
  CHECK(client.read(0, 4096) == under_test.content(0, 4096));
}

TEST_CASE("damage is an error without structured replies too, and no byte of it leaves") {
  ServerUnderTest under_test;
  fail_at(*under_test.image, 0);
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1", false));
  client.request(Command::kRead, 1, 0, 8 * kMiB);
  CHECK(client.next_simple_reply(8 * kMiB).status == Status::kIo);
  client.request(Command::kRead, 2, 512, 512);
  CHECK(client.next_simple_reply(512).data == under_test.content(512, 512));
}

TEST_CASE("a refused write's data is skipped, and the next request is understood") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  const Bytes data = test::random_bytes(1, 3 * kMiB);
  client.request(Command::kWrite, 1, 0, static_cast<std::uint32_t>(data.size()));
  client.send(data);
  CHECK(client.next_reply().chunks.error == Status::kNotPermitted);
  client.request(Command::kTrim, 2, 0, 512);
  CHECK(client.next_reply().chunks.error == Status::kNotPermitted);
  CHECK(client.read(0, 512) == under_test.content(0, 512));
}

TEST_CASE("requests that make no sense are refused, and the connection goes on") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kRead, 1, under_test.image->size(), 1);
  CHECK(client.next_reply().chunks.error == Status::kInvalid);
  client.request(static_cast<Command>(77), 2, 0, 1);
  CHECK(client.next_reply().chunks.error == Status::kInvalid);
  client.request(Command::kBlockStatus, 3, 0, 512);  // no context was negotiated
  CHECK(client.next_reply().chunks.error == Status::kInvalid);
  client.request(Command::kRead, 4, 0, 0);
  CHECK(client.next_reply().chunks.error == Status::kNone);
  client.request(Command::kFlush, 5, 0, 0);
  CHECK(client.next_reply().chunks.error == Status::kNone);
  CHECK(client.read(0, 512) == under_test.content(0, 512));
}

TEST_CASE("block status tells zeros from data, as far as was asked") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1", true, true));
  client.request(Command::kBlockStatus, 1, 0, 8 * kMiB);
  const std::vector<Extent> all{{1 * kMiB, 0}, {2 * kMiB, 3}, {5 * kMiB, 0}};
  CHECK(client.next_reply().chunks.extents == all);
  client.request(Command::kBlockStatus, 2, 1 * kMiB + 512, 4 * kMiB, kFlagRequestOne);
  CHECK(client.next_reply().chunks.extents == std::vector<Extent>{{2 * kMiB - 512, 3}});
  client.request(Command::kBlockStatus, 3, 1 * kMiB, 512, kFlagRequestOne);
  CHECK(client.next_reply().chunks.extents == std::vector<Extent>{{512, 3}});
}

TEST_CASE("a cache request fetches its range") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kCache, 1, 512, 7 * kMiB);
  CHECK(client.next_reply().chunks.error == Status::kNone);
  CHECK(under_test.image->prefetched_bytes == 7 * kMiB);
}

TEST_CASE("four clients with many requests each are all answered") {
  ServerUnderTest under_test;
  under_test.image->in_memory = [](std::uint64_t offset) { return offset / 4096 % 3 != 0; };
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (unsigned number = 0; number < 4; ++number) {
    threads.emplace_back([&, number] {
      Client client = under_test.connect();
      if (!client.open("web:v1")) return;
      test::Random random(number);
      std::map<std::uint64_t, std::uint64_t> offsets;
      for (std::uint64_t cookie = 0; cookie < 2000; ++cookie) {
        offsets[cookie] = random.below(under_test.image->size() / 512 - 8) * 512;
        client.request(Command::kRead, cookie, offsets[cookie], 4096);
        if (offsets.size() < 64) continue;
        const auto reply = client.next_reply();
        const auto offset = offsets.extract(reply.cookie).mapped();
        if (reply.chunks.content(offset, 4096) == under_test.content(offset, 4096)) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(right == 4 * (2000 - 63));
}

}  // namespace
}  // namespace vmpack::nbd
