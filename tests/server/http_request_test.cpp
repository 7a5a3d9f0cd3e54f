// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <variant>

#include "server/http/answer.hpp"
#include "server/http/credentials.hpp"
#include "server/http/range.hpp"
#include "server/http/request.hpp"
#include "server/http/target.hpp"

namespace vmpack::http {
namespace {

constexpr std::uint64_t kBytes = 1000;
const std::string kDigits(64, 'a');

unsigned refusal(std::string_view input) {
  const auto result = parse_request(input);
  const auto* refused = std::get_if<Refusal>(&result);
  return refused == nullptr ? 0 : refused->status;
}

ParsedRequest parsed(std::string_view input) { return std::get<ParsedRequest>(parse_request(input)); }

std::string get(std::string_view target, std::string_view fields = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n", target, fields);
}

BodyPlan plan(Request request) { return plan_body(request, {"\"e\"", "a date"}, kBytes); }

struct Wanted {
  std::string_view range;
  unsigned status;
  ByteRange bytes;
};

}  // namespace

TEST_CASE("a request is taken off the front of what came, whole or not at all") {
  const std::string two = get("/healthz") + get("/in-use", "Range: bytes=1-2\r\n");
  const auto first = parsed(two);
  CHECK(first.request.path == "/healthz");
  CHECK(first.request.method == Method::kGet);
  CHECK(first.request.keep_alive);
  CHECK(first.bytes == get("/healthz").size());
  CHECK(parsed(std::string_view(two).substr(first.bytes)).request.range == "bytes=1-2");
  for (std::size_t bytes = 0; bytes < first.bytes; ++bytes) {
    CHECK(std::holds_alternative<Incomplete>(parse_request(two.substr(0, bytes))));
  }
  CHECK(parsed("\r\n" + get("/a")).bytes == get("/a").size() + 2);
}

TEST_CASE("a path is what stands before the question mark, whatever form the target has") {
  CHECK(parsed(get("/a%20b?c=d")).request.path == "/a%20b");
  CHECK(parsed(get("http://host:1/a/b")).request.path == "/a/b");
  CHECK(parsed(get("http://host")).request.path == "/");
  CHECK(refusal(get("*")) == 400);
  CHECK(refusal(get("host:443")) == 400);
}

TEST_CASE("a connection stays open as the version and the client say") {
  CHECK_FALSE(parsed("GET / HTTP/1.0\r\n\r\n").request.keep_alive);
  CHECK(parsed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").request.keep_alive);
  CHECK_FALSE(parsed(get("/", "Connection: close\r\n")).request.keep_alive);
}

TEST_CASE("what is no request, or one that servers could understand differently, is refused") {
  CHECK(refusal("\x01\x02 nonsense\r\n\r\n") == 400);
  CHECK(refusal("GET /\r\n\r\n") == 400);
  CHECK(refusal("GET / HTTP/2.0\r\nHost: x\r\n\r\n") == 505);
  CHECK(refusal("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(refusal(get("/", "Host: y\r\n")) == 400);
  CHECK(refusal(get("/", "Range: bytes=1-2\r\nRange: bytes=3-4\r\n")) == 400);
  CHECK(refusal(get("/", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")) == 400);
  CHECK(refusal(get("/", "a b: c\r\n")) == 400);
  CHECK(refusal(get("/", "Transfer-Encoding: chunked\r\n")) == 501);
  CHECK(refusal(get("/", "Transfer-Encoding: gzip\r\n")) == 501);
  CHECK(refusal(get("/", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")) != 0);
  CHECK(refusal(get("/", "Content-Length: 1\r\nContent-Length: 2\r\n")) == 400);
  CHECK(refusal(get("/", "Content-Length: -1\r\n")) == 400);
  CHECK(refusal(get("/", "Content-Length: 99999999999999999999999\r\n")) == 400);
  CHECK(refusal(get("/", "Expect: a miracle\r\n")) == 417);
  CHECK(refusal("GET /" + std::string(kHeaderBytesMax, 'a')) == 414);
  CHECK(refusal(get("/", "x: " + std::string(kHeaderBytesMax, 'a') + "\r\n")) == 431);
}

TEST_CASE("a body is known before any of it is read") {
  CHECK(parsed(get("/", "Content-Length: 5\r\n")).request.has_body);
  CHECK_FALSE(parsed(get("/", "Content-Length: 0\r\n")).request.has_body);
  CHECK(parsed("POST / HTTP/1.1\r\nHost: x\r\n\r\n").request.method == Method::kOther);
  CHECK_FALSE(parsed(get("/", "Expect: 100-continue\r\n")).request.has_body);
}

TEST_CASE("paths stand for images, keys and pages, and for nothing else") {
  CHECK(find_target("/").kind == Kind::kPage);
  CHECK(find_target("/healthz").kind == Kind::kHealth);
  CHECK(find_target("/images/web%3Av1").name == "web:v1");
  CHECK(find_target("/images/web%40abcd").name == "web@abcd");
  CHECK(find_target("/images/%zz").kind == Kind::kNone);
  CHECK(find_target("/images/" + std::string(5000, 'a')).kind == Kind::kNone);
  CHECK(find_target("/catalog/web:v1.json").name == "web:v1");
  CHECK(find_target("/catalog/").kind == Kind::kNone);
  CHECK(find_target("").kind == Kind::kNone);
  for (const std::string& key :
       {"packs/aa/" + kDigits + ".pack", "maps/aa/" + kDigits + ".map", "files/aa/" + kDigits + ".files",
        "snapshots/" + kDigits + ".json", "places/" + kDigits}) {
    CHECK(find_target("/" + key).kind == Kind::kStored);
    CHECK(find_target("/" + key).name == key);
  }
  for (const std::string& path : std::initializer_list<std::string>{
           "/packs/ab/" + kDigits + ".pack", "/packs/aa/../aa/" + kDigits + ".pack", "/refs/web/v1",
           "/leases/" + kDigits, "/notes/" + kDigits + "/os/facts", "/index/aa/" + kDigits + ".idx",
           "/packs/aa/" + kDigits.substr(1) + ".pack", "/packs/aa/" + kDigits, "/vmpack.json",
           "//places/" + kDigits, "/places/" + kDigits + "/", "/tmp/x"}) {
    CHECK(find_target(path).kind == Kind::kNone);
  }
}

TEST_CASE("a range is what the standard says it is") {
  for (const auto& [range, status, bytes] :
       std::initializer_list<Wanted>{{"", 200, {0, 1000}},
                                     {"bytes=0-0", 206, {0, 1}},
                                     {"bytes=10-19", 206, {10, 10}},
                                     {"bytes=990-", 206, {990, 10}},
                                     {"bytes=990-5000", 206, {990, 10}},
                                     {"bytes=-10", 206, {990, 10}},
                                     {"bytes=-5000", 206, {0, 1000}},
                                     {"bytes=0-99999999999999999999999", 206, {0, 1000}},
                                     {"bytes=1000-", 416, {}},
                                     {"bytes=99999999999999999999999-", 416, {}},
                                     {"bytes=-0", 416, {}},
                                     {"bytes=5-4", 200, {0, 1000}},
                                     {"bytes=1-2,4-5", 200, {0, 1000}},
                                     {"bytes=-", 200, {0, 1000}},
                                     {"bytes=a-b", 200, {0, 1000}},
                                     {"bytes=+1-2", 200, {0, 1000}},
                                     {"bytes=1 - 2", 200, {0, 1000}},
                                     {"bytes", 200, {0, 1000}},
                                     {"lines=1-2", 200, {0, 1000}}}) {
    CAPTURE(range);
    const BodyPlan made = plan({.range = std::string(range)});
    CHECK(made.status == status);
    CHECK(made.range == bytes);
  }
  CHECK(plan({.method = Method::kHead, .range = "bytes=0-0"}).status == 200);
  CHECK(plan_body({.range = "bytes=0-0"}, {}, 0).status == 416);
  CHECK(plan_body({.range = "bytes=-1"}, {}, 0).status == 416);
}

TEST_CASE("a client that has it already is told so, and one that has another gets all of it") {
  CHECK(plan({.if_none_match = "\"e\""}).status == 304);
  CHECK(plan({.if_none_match = "\"d\", W/\"e\""}).status == 304);
  CHECK(plan({.if_none_match = "*"}).status == 304);
  CHECK(plan({.if_none_match = "\"d\""}).status == 200);
  CHECK(plan({.if_modified_since = "a date"}).status == 304);
  CHECK(plan({.if_modified_since = "another"}).status == 200);
  CHECK(plan({.if_none_match = "\"d\"", .if_modified_since = "a date"}).status == 200);
  CHECK(plan({.range = "bytes=1-2", .if_range = "\"e\""}).status == 206);
  CHECK(plan({.range = "bytes=1-2", .if_range = "\"d\""}).status == 200);
  CHECK(plan({.range = "bytes=1-2", .if_range = "a date"}).status == 200);
}

TEST_CASE("a header tells what follows") {
  const Answer answer = error_answer(404, "no");
  const std::string text = header_text(answer, {}, true, 1'795'600'800);
  CHECK(text.starts_with("HTTP/1.1 404 Not Found\r\nDate: Wed, 25 Nov 2026 10:00:00 GMT\r\n"));
  CHECK(text.find("Content-Length: 3\r\n") != std::string::npos);
  CHECK(text.ends_with("\r\n\r\n"));
  CHECK(text.find("Connection") == std::string::npos);
  CHECK(header_text(answer, {}, false, 0).find("Connection: close\r\n") != std::string::npos);
  CHECK(header_text(answer, {.version_1_0 = true}, true, 0).find("Connection: keep-alive\r\n") !=
        std::string::npos);
  CHECK(header_text({.status = 304}, {}, true, 0).find("Content-Length") == std::string::npos);
}

TEST_CASE("a secret is shown as a bearer's, or as a password") {
  CHECK(shown_secret("Bearer abc") == "abc");
  CHECK(shown_secret("bearer  abc ") == "abc");
  CHECK(shown_secret("Basic dXNlcjpwYTpzcw==") == "pa:ss");
  CHECK_FALSE(shown_secret("Basic dXNlcg==").has_value());
  CHECK_FALSE(shown_secret("Basic %%%%").has_value());
  CHECK_FALSE(shown_secret("Basic dXNlcjpwYQ").has_value());
  CHECK_FALSE(shown_secret("Basic ====").has_value());
  CHECK_FALSE(shown_secret("Digest abc").has_value());
  CHECK_FALSE(shown_secret("Bearer").has_value());
}

}  // namespace vmpack::http
