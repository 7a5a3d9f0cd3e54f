// SPDX-License-Identifier: Apache-2.0
// Who talks in the tests that are written from the protocol's document (doc/proto.md of the
// NetworkBlockDevice project), clause by clause: right and wrong sequences, in plain and through TLS. Numbers
// are written as they stand there, not as our sources name them.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "tests/server/wire.hpp"

namespace vmpack::test {

inline constexpr std::string_view kExportName = "00000001";
inline constexpr std::string_view kAbort = "00000002";
inline constexpr std::string_view kList = "00000003";
inline constexpr std::string_view kStartTls = "00000005";
inline constexpr std::string_view kInfo = "00000006";
inline constexpr std::string_view kGo = "00000007";
inline constexpr std::string_view kStructuredReply = "00000008";
inline constexpr std::string_view kListMeta = "00000009";
inline constexpr std::string_view kSetMeta = "0000000a";

inline constexpr std::string_view kServer = "00000002";
inline constexpr std::string_view kInfoReply = "00000003";
inline constexpr std::string_view kMeta = "00000004";
inline constexpr std::string_view kUnsupported = "80000001";
inline constexpr std::string_view kInvalid = "80000003";
inline constexpr std::string_view kTlsRequired = "80000005";
inline constexpr std::string_view kUnknown = "80000006";
inline constexpr std::string_view kShutdown = "80000007";
inline constexpr std::string_view kTooBig = "80000009";

inline constexpr std::string_view kRead = "0000";
inline constexpr std::string_view kWrite = "0001";
inline constexpr std::string_view kDisconnect = "0002";
inline constexpr std::string_view kFlush = "0003";
inline constexpr std::string_view kTrim = "0004";
inline constexpr std::string_view kCache = "0005";
inline constexpr std::string_view kWriteZeroes = "0006";
inline constexpr std::string_view kBlockStatus = "0007";
inline constexpr std::string_view kNoFlags = "0000";
inline constexpr std::string_view kDontFragment = "0004";
inline constexpr std::string_view kRequestOne = "0008";

inline constexpr std::string_view kPermission = "00000001";
inline constexpr std::string_view kInvalidArgument = "00000016";
inline constexpr std::string_view kOverflow = "0000004b";

inline constexpr std::string_view kCookie = "ffeeddccbbaa9988";
inline constexpr std::uint64_t kExportBytes = 8 * kMiB;
inline constexpr std::uint64_t kZerosAt = 1 * kMiB;  // as far as 3 MiB

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

}  // namespace vmpack::test
