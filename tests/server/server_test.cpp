// SPDX-License-Identifier: Apache-2.0
// Connections that begin, end and misbehave, and a server that stops among them.
#include "server/server.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "tests/server/client.hpp"
#include "tests/server/option_data.hpp"
#include "tests/server/server_under_test.hpp"

namespace vmpack::nbd {
namespace {

using test::Client;
using test::Gate;
using test::option_message;
using test::ServerUnderTest;

void expect_good_client(ServerUnderTest& under_test) {
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  CHECK(client.read(12345, 6789) == under_test.content(12345, 6789));
}

TEST_CASE("an export that does not exist can be asked for again") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  CHECK_FALSE(client.open("nobody:v1"));
  client.send(option_message(Option::kAbort, {}));
  CHECK(client.finish_option(Option::kAbort) == OptionReply::kAck);
  CHECK(client.at_end());
}

TEST_CASE("an option that is too long is skipped, one that is absurd ends the connection") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  CHECK_FALSE(client.open("nobody:v1"));
  client.send(option_message(Option::kInfo, Bytes(kOptionBytesMax + 1)));
  CHECK(client.finish_option(Option::kInfo) == OptionReply::kErrorTooBig);
  client.send(option_message(static_cast<Option>(77), Bytes(100)));
  CHECK(client.finish_option(static_cast<Option>(77)) == OptionReply::kErrorUnsupported);
  Bytes absurd = option_message(Option::kInfo, {});
  WireWriter(absurd.data() + 12).number(0xffffffffU);
  client.send(absurd);
  CHECK(client.at_end());
}

TEST_CASE("a client that speaks something else is closed") {
  ServerUnderTest under_test;
  for (const std::string_view text :
       {"GET / HTTP/1.1\r\nHost: images\r\n\r\n", "\xff\xff\xff\xff", "\0\0\0\3aaaaaaaaaaaaaaaa"}) {
    Client client = under_test.connect();
    static_cast<void>(client.receive(kGreetingBytes));
    client.send(as_byte_view(text));
    client.shut_down_send();
    CHECK(client.at_end());
  }
  expect_good_client(under_test);
}

TEST_CASE("a request without the right magic ends the connection") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.send(Bytes(kRequestBytes));
  CHECK(client.at_end());
}

TEST_CASE("a write with an absurd length ends the connection") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kWrite, 1, 0, 0xffffffff);
  CHECK(client.at_end());
}

TEST_CASE("a client that disconnects gets what it asked for before") {
  ServerUnderTest under_test;
  Gate gate;
  under_test.image->before_read = [&](std::uint64_t) { gate.wait(); };
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  client.request(Command::kRead, 1, 0, 4096);
  client.request(Command::kDisconnect, 2, 0, 0);
  gate.open();
  CHECK(client.next_reply().chunks.content(0, 4096) == under_test.content(0, 4096));
  CHECK(client.at_end());
}

TEST_CASE("a client that closes its sending side gets what it asked for before") {
  ServerUnderTest under_test;
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t cookie = 0; cookie < 20; ++cookie)
    client.request(Command::kRead, cookie, cookie * 512, 512);
  client.shut_down_send();
  for (int i = 0; i < 20; ++i) CHECK(client.next_reply().chunks.done);
  CHECK(client.at_end());
}

TEST_CASE("clients that vanish in the middle of anything cost the server nothing") {
  ServerLimits limits;
  limits.bytes_in_flight = 48 * kMiB;
  ServerUnderTest under_test(limits, 40 * kMiB);
  for (int i = 0; i < 40; ++i) {
    Client client = under_test.connect();
    if (i % 4 == 0) continue;
    REQUIRE(client.open("web:v1", i % 4 == 1));
    for (std::uint64_t cookie = 0; cookie < 4; ++cookie) client.request(Command::kRead, cookie, 0, 16 * kMiB);
    if (i % 4 == 3) static_cast<void>(client.receive(100'000));
  }
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
  // Had a share of the budget been lost, this would wait for ever.
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1", false));
  client.request(Command::kRead, 1, 0, 32 * kMiB);
  CHECK(client.next_simple_reply(32 * kMiB).data == under_test.content(0, 32 * kMiB));
}

TEST_CASE("more large reads than the server's memory for them are answered one after the other") {
  ServerLimits limits;
  limits.bytes_in_flight = 10 * kMiB;
  limits.connection_bytes_in_flight = 9 * kMiB;
  ServerUnderTest under_test(limits, 8 * kMiB);
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int number = 0; number < 6; ++number) {
    threads.emplace_back([&] {
      Client client = under_test.connect();
      if (!client.open("web:v1", false)) return;
      for (std::uint64_t cookie = 0; cookie < 3; ++cookie)
        client.request(Command::kRead, cookie, 0, 8 * kMiB);
      for (int i = 0; i < 3; ++i) {
        if (client.next_simple_reply(8 * kMiB).data == under_test.image->content) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(right == 18);
}

TEST_CASE("a client may have more requests under way than the server works on") {
  ServerUnderTest under_test;
  Gate gate;
  under_test.image->before_read = [&](std::uint64_t) { gate.wait(); };
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  constexpr std::uint64_t kRequests = 1000;
  // The server stops reading while it has enough to do or its replies are not taken: sending has to wait for
  // both.
  std::jthread sender([&] {
    for (std::uint64_t cookie = 0; cookie < kRequests; ++cookie) {
      client.request(Command::kRead, cookie, cookie * 512, 512);
      if (cookie == 200) gate.open();
    }
  });
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    const auto reply = client.next_reply();
    CHECK(reply.chunks.content(reply.cookie * 512, 512) == under_test.content(reply.cookie * 512, 512));
  }
}

TEST_CASE("a handshake that takes too long is ended") {
  ServerLimits limits;
  limits.handshake = std::chrono::seconds(1);
  ServerUnderTest under_test(limits);
  Client client = under_test.connect();
  static_cast<void>(client.receive(kGreetingBytes));
  CHECK(client.at_end());
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
}

TEST_CASE("a client that never closes its side is not waited for") {
  ServerLimits limits;
  limits.linger = std::chrono::seconds(1);
  ServerUnderTest under_test(limits);
  Client gone = under_test.connect();
  gone.greet();
  CHECK(gone.ask(Option::kAbort) == OptionReply::kAck);
  Client left = under_test.connect();
  REQUIRE(left.open("web:v1"));
  left.request(Command::kDisconnect, 1, 0, 0);
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
}

TEST_CASE("a client that takes nothing is closed, and held up nobody") {
  ServerLimits limits;
  limits.send_stall = std::chrono::seconds(1);
  ServerUnderTest under_test(limits);
  Client client = under_test.connect();
  REQUIRE(client.open("web:v1"));
  for (std::uint64_t cookie = 0; cookie < 8; ++cookie)
    client.request(Command::kRead, cookie, 3 * kMiB, 4 * kMiB);
  expect_good_client(under_test);
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
  CHECK(under_test.stop_and_read_log().find("has taken no data") != std::string::npos);
}

TEST_CASE("connections beyond the limit are refused until others end") {
  ServerLimits limits;
  limits.connections = 2;
  ServerUnderTest under_test(limits);
  auto first = std::make_unique<Client>(under_test.connect());
  Client second = under_test.connect();
  REQUIRE(first->open("web:v1"));
  REQUIRE(second.open("web:v1"));
  Client third = under_test.connect();
  CHECK(third.at_end());
  first.reset();
  REQUIRE(ServerUnderTest::eventually([&] { return under_test.server->connections() == 1; }));
  expect_good_client(under_test);
}

TEST_CASE("a server that stops answers what is under way, and takes its socket away") {
  ServerUnderTest under_test;
  Gate gate;
  under_test.image->before_read = [&](std::uint64_t) { gate.wait(); };
  Client busy = under_test.connect();
  Client idle = under_test.connect();
  Client shaking_hands = under_test.connect();
  REQUIRE(busy.open("web:v1"));
  REQUIRE(idle.open("web:v1"));
  static_cast<void>(shaking_hands.receive(kGreetingBytes));
  busy.request(Command::kRead, 1, 0, 4096);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  under_test.server->begin_stop();
  CHECK_FALSE(std::filesystem::exists(under_test.path()));
  CHECK(idle.at_end());
  CHECK(shaking_hands.at_end());
  gate.open();
  CHECK(busy.next_reply().chunks.content(0, 4096) == under_test.content(0, 4096));
  CHECK(busy.at_end());
  idle.close();
  busy.close();
  CHECK(ServerUnderTest::eventually([&] { return under_test.server->connections() == 0; }));
}

TEST_CASE("a server can be stopped at any moment") {
  for (int milliseconds = 0; milliseconds < 30; milliseconds += 3) {
    ServerUnderTest under_test;
    under_test.image->in_memory = [](std::uint64_t offset) { return offset % 8192 == 0; };
    std::thread traffic([client = under_test.connect()]() mutable {
      try {
        if (!client.open("web:v1")) return;
        for (std::uint64_t cookie = 0; cookie < 100'000; ++cookie) {
          client.request(Command::kRead, cookie, cookie % 1024 * 4096, 4096);
          if (cookie >= 32) static_cast<void>(client.next_reply());
        }
      } catch (const std::exception&) {
        // The server went away, as it was told to.
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    under_test.server->begin_stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds % 2));
    under_test.server->finish_stop();
    under_test.server.reset();  // closes what was accepted and never begun, too
    traffic.join();
  }
}

}  // namespace
}  // namespace vmpack::nbd
