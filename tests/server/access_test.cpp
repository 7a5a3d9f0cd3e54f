// SPDX-License-Identifier: Apache-2.0
#include "server/access.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

AccessRules rule(std::vector<std::string> exports, std::vector<std::string> clients) {
  return AccessRules({{std::move(exports), std::move(clients)}});
}

Client at(std::string_view address) { return {.address = parse_ip_address(address).value()}; }

TEST_CASE("without rules every client may open everything") {
  CHECK(AccessRules().may_open({}, "web:v1"));
  CHECK(AccessRules().may_open_everything({}));
}

TEST_CASE("a rule opens the exports that it names, and no other") {
  const auto rules = rule({"web:v*", "db:latest"}, {"*"});
  CHECK(rules.may_open({}, "web:v1"));
  CHECK(rules.may_open({}, "db:latest"));
  CHECK(rules.may_open({}, "db"));
  CHECK_FALSE(rules.may_open({}, "web"));
  CHECK_FALSE(rules.may_open({}, "db:v1"));
  CHECK_FALSE(rules.may_open({}, "website:v1"));
  CHECK_FALSE(rules.may_open({}, ""));
  CHECK_FALSE(rules.may_open({}, std::string_view("web:v1\0", 7)));
  CHECK_FALSE(rules.may_open_everything({}));
}

TEST_CASE("a digest needs a rule for every tag of its name") {
  CHECK_FALSE(rule({"web:v*", "web:?*", "db:*"}, {"*"}).may_open({}, "web@3f9c"));
  CHECK(rule({"web:*"}, {"*"}).may_open({}, "web@3f9c"));
  CHECK(rule({"we*:*"}, {"*"}).may_open({}, "web@3f9c"));
  CHECK(rule({"*"}, {"*"}).may_open({}, "web@3f9c"));
}

TEST_CASE("only a rule for everything opens everything") {
  CHECK(rule({"*"}, {"*"}).may_open_everything({}));
  CHECK(rule({"*:*"}, {"*"}).may_open_everything({}));
  CHECK_FALSE(rule({"?*:*", "web:*"}, {"*"}).may_open_everything({}));
  CHECK_FALSE(rule({"*"}, {"unix"}).may_open_everything({}));
}

TEST_CASE("a client is known by the names that it proved") {
  const auto rules = rule({"*"}, {"cert:host-*", "psk:alice", "token:ci"});
  CHECK(rules.may_open({.certificate = "host-7"}, "web:v1"));
  CHECK(rules.may_open({.psk = "alice"}, "web:v1"));
  CHECK(rules.may_open({.token = "ci"}, "web:v1"));
  CHECK_FALSE(rules.may_open({.certificate = "alice"}, "web:v1"));
  CHECK_FALSE(rules.may_open({.psk = "host-7"}, "web:v1"));
  CHECK_FALSE(rules.may_open({.token = "ci2"}, "web:v1"));
  CHECK_FALSE(rules.may_open({.peer = "alice"}, "web:v1"));
  CHECK(rules.names_certificates());
  CHECK_FALSE(rule({"*"}, {"psk:alice", "*"}).names_certificates());
}

TEST_CASE("a wildcard for names does not stand for no name") {
  CHECK_FALSE(rule({"*"}, {"cert:*", "psk:*", "token:*"}).may_open({}, "web:v1"));
  CHECK(rule({"*"}, {"cert:*"}).may_open({.certificate = "anybody"}, "web:v1"));
}

TEST_CASE("a client over a unix socket has no address") {
  CHECK(rule({"*"}, {"unix"}).may_open({.local = true}, "web:v1"));
  CHECK_FALSE(rule({"*"}, {"unix"}).may_open(at("127.0.0.1"), "web:v1"));
  CHECK_FALSE(rule({"*"}, {"address:::/0"}).may_open({.local = true}, "web:v1"));
}

TEST_CASE("networks of both families are compared bit by bit") {
  const auto rules = rule({"*"}, {"address:10.1.16.0/20", "address:192.0.2.7", "address:fd00:1:2:3::/62"});
  for (const auto* inside : {"10.1.16.0", "10.1.31.255", "192.0.2.7", "fd00:1:2:3::1",
                             "fd00:1:2:0:ffff::", "::ffff:10.1.20.1", "fd00:1:2:1::1%eth0"}) {
    CAPTURE(inside);
    CHECK(rules.may_open(at(inside), "web:v1"));
  }
  for (const auto* outside :
       {"10.1.15.255", "10.1.32.0", "192.0.2.6", "fd00:1:2:4::1", "::10.1.16.1", "::"}) {
    CAPTURE(outside);
    CHECK_FALSE(rules.may_open(at(outside), "web:v1"));
  }
  CHECK(rule({"*"}, {"address:0.0.0.0/0"}).may_open(at("203.0.113.9"), "web:v1"));
  CHECK_FALSE(rule({"*"}, {"address:0.0.0.0/0"}).may_open(at("fd00::1"), "web:v1"));
}

TEST_CASE("a rule needs both, the client and the export") {
  const AccessRules rules({{{"web:*"}, {"psk:alice"}}, {{"db:*"}, {"psk:bob", "address:10.0.0.0/8"}}});
  CHECK(rules.may_open({.psk = "alice"}, "web:v1"));
  CHECK_FALSE(rules.may_open({.psk = "alice"}, "db:v1"));
  CHECK(rules.may_open(at("10.9.9.9"), "db:v1"));
  CHECK_FALSE(rules.may_open(at("10.9.9.9"), "web:v1"));
}

TEST_CASE("rules that make no sense are refused") {
  for (const auto* exported : {"", "web", "web:", ":v1", "web@3f9c"}) {
    CAPTURE(exported);
    CHECK_THROWS_AS(rule({exported}, {"*"}), Error);
  }
  for (const auto* client :
       {"", "alice", "cert:", "psk:", "token:", "address:", "address:host", "address:10.0.0.0/33",
        "address:10.0.0.0/", "address:10.0.0.0/8x", "address:fd00::/129", "address:10.0.0.0/-1", "Unix"}) {
    CAPTURE(client);
    CHECK_THROWS_AS(rule({"*"}, {client}), Error);
  }
}

}  // namespace
}  // namespace vmpack
