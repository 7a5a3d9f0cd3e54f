// SPDX-License-Identifier: Apache-2.0
// What of the RADOS store can be tested without a cluster: its URL, and what heads of values say.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/rados/rados_head.hpp"
#include "libvmpack/store/rados/rados_location.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using namespace vmpack::test;

TEST_CASE("a rados URL names pool, prefix and options") {
  const RadosLocation plain = parse_rados_location("rados://images/golden/nightly/");
  CHECK(plain.pool == "images");
  CHECK(plain.name_space == "golden/nightly");
  CHECK(plain.user == "client.admin");
  CHECK_FALSE(plain.timeout_seconds);
  CHECK(plain.text() == "rados://images/golden/nightly");

  const RadosLocation full =
      parse_rados_location("rados://p/x?id=client.ci&conf=/etc/ceph/a.conf&keyring=/k%20%26&timeout=5");
  CHECK(full.user == "client.ci");
  CHECK(full.conf == "/etc/ceph/a.conf");
  CHECK(full.keyring == "/k &");
  CHECK(full.timeout_seconds == 5);
  CHECK(full.text() == "rados://p/x");
}

TEST_CASE("the user comes from the URL, then from CEPH_ARGS, each with or without its type") {
  CHECK(parse_rados_location("rados://p/x?id=ci").user == "client.ci");
  for (const char* arguments : {"--id ci", "--id=ci", "--user ci", "-n client.ci", "--name=client.ci",
                                "--debug-ms 1 --id old --id ci --keyring /k"}) {
    CHECK(parse_rados_location("rados://p/x", arguments).user == "client.ci");
    CHECK(parse_rados_location("rados://p/x?id=other", arguments).user == "client.other");
  }
  CHECK(parse_rados_location("rados://p/x", "--id").user == "client.admin");
}

TEST_CASE("a rados URL that makes no sense is refused, with the form it must have") {
  for (const char* url : {"rados://", "rados://p", "rados://p/", "rados:///x", "rados://p/..",
                          "rados://p/a//b", "rados://p/tmp/x", "rados://p/a b", "rados://p/x?id",
                          "rados://p/x?id=%2", "rados://p/x?id=", "rados://p/x?a=b", "rados://p/x?timeout=0",
                          "rados://p/x?timeout=5s", "rados://p/x?timeout=999999999999"}) {
    INFO(url);
    const Error error = error_of([&] { (void)parse_rados_location(url); });
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK_THAT(error.hint(), Catch::Contains("rados://POOL/PREFIX"));
  }
}

TEST_CASE("a head comes back as it was written") {
  const std::string version = new_rados_version();
  for (const auto& [bytes, piece_bytes] :
       {std::pair<std::uint64_t, std::uint64_t>{0, 0}, {17, 0}, {64 * kMiB, 4 * kMiB}}) {
    const RadosHead head =
        decode_rados_head(encode_rados_head({.bytes = bytes, .piece_bytes = piece_bytes}), version, "x");
    CHECK(head.bytes == bytes);
    CHECK(head.piece_bytes == piece_bytes);
    CHECK(head.version == version);
  }
  CHECK(RadosHead{.bytes = 64 * kMiB + 1, .piece_bytes = 4 * kMiB}.pieces() == 17);
  CHECK(RadosHead{.bytes = 17}.pieces() == 0);
}

TEST_CASE("a head that nobody wrote is damage, and one of the future is refused by its version") {
  const std::string version(32, 'a');
  for (const char* head :
       {"", "1", "1 ", "1 5", "1 5 ", "1 5 0 ", "1 5 0 0", "1  5 0", "1 -5 0", "1 5 x", "x 5 0", "1 5 1024",
        "1 5 99999999999", "1 99999999999999 4194304", "1 999999999 0", "1 18446744073709551616 0"}) {
    INFO(head);
    const Error error = error_of([&] { (void)decode_rados_head(head, version, "the value"); });
    CHECK(error.code() == ErrorCode::kDamaged);
    CHECK_THAT(error.what(), Catch::Contains("the value"));
  }
  for (const std::string& bad : {std::string(), std::string(31, 'a'), std::string(32, 'A'),
                                 std::string("../") + std::string(29, 'a')}) {
    CHECK(error_of([&] { (void)decode_rados_head("1 5 0", bad, "x"); }).code() == ErrorCode::kDamaged);
  }
  CHECK(error_of([&] { (void)decode_rados_head("2 5 0 7", version, "x"); }).code() ==
        ErrorCode::kUnsupported);
}

TEST_CASE("pieces are named apart from all keys, and no two puts share a version") {
  const std::string version = new_rados_version();
  CHECK(rados_piece_name(version, 3) == "tmp/" + version + "/3");
  CHECK_FALSE(is_key(rados_piece_name(version, 3)));
  CHECK_FALSE(is_key(kRadosNoOwner));
  CHECK(version != new_rados_version());
}
