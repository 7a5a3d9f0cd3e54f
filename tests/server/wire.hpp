// SPDX-License-Identifier: Apache-2.0
// A client that knows nothing but the protocol's document: what goes over the wire is written as it stands
// there, in hexadecimal digits, and read byte by byte.
#pragma once

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "libvmpack/base/format_text.hpp"
#include "tests/server/bytes_of.hpp"
#include "tests/server/client.hpp"
#include "tests/server/server_under_test.hpp"
#include "tests/server/tls_files.hpp"

namespace vmpack::test {

/// A number with so many hexadecimal digits.
inline std::string number(std::uint64_t value, int digits) { return fmt::format("{:0{}x}", value, digits); }

/// The digits of a text's bytes.
inline std::string text(std::string_view characters) {
  std::string digits;
  for (const char c : characters) digits += number(static_cast<unsigned char>(c), 2);
  return digits;
}

/// A string as options have it: 32 bits of length before it.
inline std::string string(std::string_view characters) {
  return number(characters.size(), 8) + text(characters);
}

class Wire {
 public:
  /// Connects, and says nothing yet.
  explicit Wire(ServerUnderTest& under_test) : client_(under_test.connect()) {}

  /// What the client sends.
  void c(std::string_view hex) { client_.send(bytes_of(hex)); }
  /// What the server must send now.
  void s(std::string_view hex) {
    const Bytes expected = bytes_of(hex);
    REQUIRE(client_.receive(expected.size()) == expected);
  }
  [[nodiscard]] Bytes receive(std::size_t bytes) { return client_.receive(bytes); }
  /// The server ends the connection, and says nothing more.
  void s_closes() { CHECK(client_.at_end()); }

  /// The same behind at most one alert of TLS.
  void s_closes_with_alert() {
    std::size_t bytes = 0;
    while (!client_.at_end()) ++bytes;
    CHECK(bytes <= 7);
  }

  void greet(std::string_view client_flags = "00000003") {
    s("4e42444d41474943 49484156454f5054 0003");
    c(client_flags);
  }
  void option(std::string_view option, std::string_view data = {}) {
    c("49484156454f5054");
    c(option);
    c(number(bytes_of(data).size(), 8));
    c(data);
  }
  /// A reply to that option, of that type, with that data.
  void reply(std::string_view option, std::string_view type, std::string_view data = {}) {
    s("0003e889045565a9");
    s(option);
    s(type);
    s(number(bytes_of(data).size(), 8));
    s(data);
  }
  void ack(std::string_view option) { reply(option, "00000001"); }
  /// An error of that type, with whatever text for people.
  void error(std::string_view option, std::string_view type) {
    s("0003e889045565a9");
    s(option);
    s(type);
    message();
  }
  void start_tls() {
    option("00000005");
    ack("00000005");
    REQUIRE(client_.start_tls(tls_files().client()));
  }

  void request(std::string_view flags, std::string_view type, std::string_view cookie, std::uint64_t offset,
               std::uint64_t length) {
    c("25609513");
    c(flags);
    c(type);
    c(cookie);
    c(number(offset, 16));
    c(number(length, 8));
  }
  /// An error in a structured reply that has nothing else.
  void error_chunk(std::string_view cookie, std::string_view error) {
    s("668e33ef 0001 8001");
    s(cookie);
    const Bytes length = receive(4);
    s(error);
    const Bytes message_length = receive(2);
    const auto message_bytes = nbd::WireReader(message_length).number<std::uint16_t>().value();
    CHECK(nbd::WireReader(length).number<std::uint32_t>().value() == 6U + message_bytes);
    CHECK(printable(as_text(receive(message_bytes))).size() == message_bytes);
  }

  [[nodiscard]] Client& client() { return client_; }

 private:
  void message() {
    const Bytes length = receive(4);
    const Bytes shown = receive(nbd::WireReader(length).number<std::uint32_t>().value());
    CHECK(shown.size() <= 4096);
    CHECK(printable(as_text(shown)) == as_text(shown));
  }

  Client client_;
};

}  // namespace vmpack::test
