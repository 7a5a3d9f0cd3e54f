// SPDX-License-Identifier: Apache-2.0
// An S3 server that fails, lies, or goes silent: what passes by itself is tried again, and what was written
// is told truly.
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/s3_stub.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::uint64_t kAnySize = 64 * kMiB;

// Values are too long to be printed.
bool same(ByteView a, ByteView b) { return std::ranges::equal(a, b); }

OrderedJson of_method(std::string_view method, OrderedJson fault) {
  fault["method"] = method;
  return fault;
}

struct Sample {
  explicit Sample(std::string_view conditions = "heeded") {
    stub.set_conditions(conditions);
    store = open_s3_store(stub.settings("faults"));
    store->put_if_absent("key", value);
  }
  void require_readable() const {
    CHECK(same(store->get("key", kAnySize), value));
    Bytes range(1000);
    store->get_range("key", 70'000, range);
    CHECK(std::ranges::equal(range, ByteView(value).subspan(70'000, 1000)));
  }

  const S3Stub& stub = shared_s3_stub();
  std::unique_ptr<Store> store;
  Bytes value = random_bytes(1, 200'000);
};

}  // namespace

TEST_CASE("what passes by itself is tried again") {
  const Sample sample;
  const std::vector<OrderedJson> faults = {s3_status(500, "InternalError", 2),
                                           s3_status(503, "SlowDown", 3),
                                           s3_status(503, "", 3),
                                           s3_status(502, "", 1),
                                           s3_status(429, "TooManyRequests", 2),
                                           s3_status(400, "RequestTimeout", 2),
                                           s3_fault("reset", {{"count", 3}}),
                                           s3_fault("garbage"),
                                           s3_fault("raw", {{"bytes", ""}}),
                                           s3_fault("raw", {{"bytes", "HTTP/1.1 206 OK\r\nContent-Le"}}),
                                           s3_fault("truncate", {{"count", 3}, {"method", "GET"}}),
                                           s3_fault("lost_reply", {{"count", 2}})};
  for (const OrderedJson& one : faults) {
    INFO(one.dump());
    sample.stub.fail({one});
    sample.require_readable();
    sample.stub.fail({of_method("HEAD", one)});
    CHECK(sample.store->stat("key")->bytes == sample.value.size());
  }
}

TEST_CASE("a range that is not the one asked for is no answer, however it differs") {
  const Sample sample;
  Bytes range(1000);
  for (const char* kind : {"shift_range", "shorten_range", "ignore_range"}) {
    INFO(kind);
    sample.stub.fail({s3_fault(kind)});
    sample.require_readable();
    sample.stub.fail({s3_fault(kind, {{"count", 100}})});
    const Error error = error_of([&] { sample.store->get_range("key", 70'000, range); });
    CHECK(error.code() == ErrorCode::kIo);
    CHECK_THAT(error.what(), Catch::Contains("s3://bucket/faults/key"));
  }
}

TEST_CASE("a server that goes silent is left after its time, and asked again") {
  const Sample sample;
  S3Settings settings = sample.stub.settings("faults");
  settings.http.stall_time_max = std::chrono::seconds(1);
  settings.retry.attempts_max = 20;
  const auto store = open_s3_store(settings);
  sample.stub.fail({s3_fault("stall", {{"seconds", 300}}), s3_fault("stall_body", {{"seconds", 300}})});
  const auto start = std::chrono::steady_clock::now();
  Bytes range(100);
  store->get_range("key", 70'000, range);
  CHECK(std::ranges::equal(range, ByteView(sample.value).subspan(70'000, 100)));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(150));
}

TEST_CASE("nobody is asked for ever: attempts and time have an end") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("faults");
  const auto store = open_s3_store(settings);
  (void)store->stat("key");
  stub.fail({s3_status(503, "SlowDown", 1000)});
  const Error error = error_of([&] { (void)store->stat("key"); });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK_THAT(error.what(),
             Catch::Contains("cannot read s3://bucket/faults/key") && Catch::Contains("overloaded"));
  CHECK(stub.requests().size() == settings.retry.attempts_max);
  settings.retry.attempts_max = 1000;
  settings.retry.wait_max = std::chrono::milliseconds(200);
  settings.retry.give_up_after = std::chrono::seconds(1);
  stub.fail({s3_status(503, "SlowDown", 1000)});
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS((void)open_s3_store(settings)->stat("key"), Error);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
}

TEST_CASE("a server that says how long to wait is waited for, within reason") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("faults");
  settings.retry.wait_max = std::chrono::milliseconds(300);
  const auto store = open_s3_store(settings);
  stub.fail({s3_fault("status", {{"status", 503}, {"code", "SlowDown"}, {"retry_after", 3600}})});
  const auto start = std::chrono::steady_clock::now();
  (void)store->stat("key");
  const auto waited = std::chrono::steady_clock::now() - start;
  CHECK(waited >= std::chrono::milliseconds(300));
  CHECK(waited < std::chrono::seconds(60));
}

TEST_CASE("a put whose answer was lost is told as done, with any server") {
  for (const char* conditions : {"heeded", "bare", "single", "ignored", "refused"}) {
    INFO(conditions);
    const Sample sample(conditions);
    sample.stub.fail({s3_fault("lost_reply", {{"method", "PUT"}})});
    CHECK(sample.store->put_if_absent("new", as_byte_view("mine")));
    CHECK_FALSE(sample.store->put_if_absent("new", as_byte_view("again")));
    sample.stub.fail({s3_fault("lost_reply", {{"count", 2}, {"method", "PUT"}})});
    CHECK(sample.store->replace_if_version("new", as_byte_view("newer"), sample.store->stat("new")->version));
    sample.stub.fail({s3_fault("lost_reply", {{"method", "PUT"}})});
    CHECK_FALSE(sample.store->put_if_absent("key", as_byte_view("x")));
    CHECK(as_text(sample.store->get("new", kAnySize)) == "newer");
    sample.stub.fail({s3_fault("lost_reply", {{"method", "DELETE"}})});
    CHECK_NOTHROW(sample.store->remove("new"));
    CHECK_FALSE(sample.store->stat("new"));
  }
}

TEST_CASE("an upload in parts survives faults of every request, and leaves nothing when it fails") {
  const S3Stub& stub = shared_s3_stub();
  for (const char* conditions : {"heeded", "single", "ignored"}) {
    stub.set_conditions(conditions);
    S3Settings settings = stub.settings(fmt::format("parts-{}", conditions));
    settings.single_put_bytes_max = kMiB;
    settings.part_bytes = kMiB;
    const auto store = open_s3_store(settings);
    const Bytes value = random_bytes(1, 3 * kMiB + 5);
    store->put_if_absent("small", as_byte_view("x"));
    int number = 0;
    for (const OrderedJson& one :
         {s3_status(500, "InternalError", 2), s3_fault("reset"), s3_fault("lost_reply"),
          s3_fault("error_in_200", {{"method", "POST"}, {"skip", 1}}),
          s3_fault("lost_reply", {{"method", "POST"}, {"skip", 1}}),
          s3_fault("status", {{"status", 503}, {"code", "SlowDown"}, {"method", "PUT"}, {"skip", 2}})}) {
      INFO(conditions << " " << one.dump());
      stub.fail({one});
      const std::string key = "value-" + std::to_string(number++);
      CHECK(store->put_if_absent(key, value));
      CHECK(same(store->get(key, kAnySize), value));
    }
    const int before = stub.open_uploads();  // of lost answers to the first request
    stub.fail(
        {s3_fault("status", {{"status", 403}, {"code", "AccessDenied"}, {"method", "PUT"}, {"skip", 1}})});
    CHECK(error_of([&] { store->put_if_absent("failing", value); }).code() == ErrorCode::kRefused);
    CHECK(stub.open_uploads() == before);
    CHECK_FALSE(store->stat("failing"));
  }
}

TEST_CASE("answers without end or sense are refused, not kept") {
  const S3Stub& stub = shared_s3_stub();
  const auto store = open_s3_store(stub.settings("hostile"));
  const std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
  const auto raw = [](const std::string& text) { return s3_fault("raw", {{"count", 100}, {"bytes", text}}); };
  SECTION("headers") {
    stub.fail({s3_fault("headers", {{"count", 100}})});
    CHECK(error_of([&] { (void)store->stat("key"); }).code() == ErrorCode::kLimit);
  }
  SECTION("an error's text") {
    stub.fail({raw("HTTP/1.1 403 No\r\nContent-Length: 900000\r\n\r\n" + std::string(900'000, 'x'))});
    CHECK(error_of([&] { (void)store->get("key", 10); }).code() == ErrorCode::kLimit);
  }
  SECTION("an error's text that would paint the terminal") {
    stub.fail({s3_status(418, "Te\x1b[31mapot")});
    const Error error = error_of([&] { (void)store->get("key", 10); });
    CHECK(std::string(error.what()).find('\x1b') == std::string::npos);
  }
  SECTION("a value larger than asked for") {
    stub.fail({raw(head + "Content-Length: 99999999999\r\n\r\nxxx")});
    CHECK(error_of([&] { (void)store->get("key", 10); }).code() == ErrorCode::kLimit);
    stub.fail({raw(head + "\r\n" + std::string(100'000, 'x'))});
    CHECK(error_of([&] { (void)store->get("key", 10); }).code() == ErrorCode::kLimit);
  }
  SECTION("a value without its length") {
    stub.fail({raw(head + "\r\nxxx")});
    CHECK(error_of([&] { (void)store->get("key", 10); }).code() == ErrorCode::kIo);
  }
  SECTION("a list that is none") {
    for (const std::string& body :
         {std::string("<html>hello</html>"), std::string(), std::string("<ListBucketResult>"),
          std::string("<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>")}) {
      stub.fail({raw(head + "\r\n" + body)});
      CHECK(error_of([&] { store->list("", [](const std::string&, std::uint64_t) {}); }).code() ==
            ErrorCode::kDamaged);
    }
  }
  SECTION("a list that goes round in circles") {
    stub.fail({raw(head + "\r\n<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t"
                          "</NextContinuationToken><Contents><Key>hostile/a</Key><Size>1</Size></Contents>"
                          "</ListBucketResult>")});
    CHECK(error_of([&] { store->list("", [](const std::string&, std::uint64_t) {}); }).code() ==
          ErrorCode::kUnsupported);
  }
  SECTION("a list without keys and without end") {
    stub.fail({raw(head + "\r\n<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t"
                          "</NextContinuationToken></ListBucketResult>"),
               raw(head + "\r\n<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t"
                          "</NextContinuationToken></ListBucketResult>")});
    CHECK(error_of([&] { store->list("", [](const std::string&, std::uint64_t) {}); }).code() ==
          ErrorCode::kDamaged);
  }
}
