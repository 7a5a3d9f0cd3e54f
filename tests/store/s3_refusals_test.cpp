// SPDX-License-Identifier: Apache-2.0
// What an S3 server refuses: each error says what, where and what to do, and no secret.
#include <catch2/catch.hpp>

#include <atomic>

#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/s3_stub.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::uint64_t kAnySize = kMiB;

struct Expected {
  ErrorCode code;
  std::string what;
  std::string hint;
};

void require_refusal(const Error& error, const Expected& expected) {
  INFO(error.what() << "; " << error.hint());
  CHECK(error.code() == expected.code);
  CHECK_THAT(error.what(), Catch::Contains("s3://") && Catch::Contains(expected.what));
  CHECK_THAT(error.hint(), Catch::Contains(expected.hint));
  for (const std::string& secret :
       {kStubTester.secret_key, kStubTemporary.secret_key, kStubTemporary.session_token}) {
    CHECK_THAT(error.what() + error.hint(), !Catch::Contains(secret));
  }
}

// By every method, also those whose answers have no body.
void require_refusals(const S3Settings& settings, const Expected& expected) {
  const auto store = open_s3_store(settings);
  Bytes one(1);
  require_refusal(error_of([&] { (void)store->stat("key"); }), expected);
  require_refusal(error_of([&] { (void)store->get("key", kAnySize); }), expected);
  require_refusal(error_of([&] { store->get_range("key", 0, one); }), expected);
  require_refusal(error_of([&] { store->put_if_absent("new", as_byte_view("x")); }), expected);
  require_refusal(error_of([&] { store->remove("key"); }), expected);
  require_refusal(error_of([&] { store->list("", [](const std::string&, std::uint64_t) {}); }), expected);
  require_refusal(error_of([&] { (void)store->now(); }), expected);
}

}  // namespace

TEST_CASE("every refusal of a server says what to do") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("repo");
  open_s3_store(settings)->put_if_absent("key", as_byte_view("x"));
  SECTION("an unknown key") {
    settings.credentials = [] { return S3Credentials{"nobody", "x", ""}; };
    require_refusals(settings, {ErrorCode::kRefused, "does not know the access key", "AWS_ACCESS_KEY_ID"});
  }
  SECTION("a wrong secret") {
    settings.credentials = [] { return S3Credentials{"tester", "x", ""}; };
    require_refusals(settings, {ErrorCode::kRefused, "refuses the signature", "AWS_SECRET_ACCESS_KEY"});
  }
  SECTION("a session token that is missing") {
    settings.credentials = [] { return S3Credentials{"temporary", kStubTemporary.secret_key, ""}; };
    require_refusals(settings, {ErrorCode::kRefused, "session token", "AWS_SESSION_TOKEN"});
  }
  SECTION("credentials that have expired") {
    stub.fail({s3_status(400, "ExpiredToken", 1000)});
    require_refusals(settings, {ErrorCode::kRefused, "expired", "get new ones"});
  }
  SECTION("a bucket that is missing") {
    settings.bucket = "missing";
    require_refusals(settings, {ErrorCode::kNotFound, "there is no bucket missing", "make the bucket first"});
  }
  SECTION("no permission at all") {
    settings.credentials = [] { return kStubStranger; };
    require_refusals(settings, {ErrorCode::kRefused, "may not do that", "s3:GetObject"});
  }
  SECTION("a store that is full") {
    stub.fail({s3_status(507, "", 1000)});
    require_refusals(settings, {ErrorCode::kNoSpace, "full", "make room"});
  }
  SECTION("a redirection that says nothing") {
    stub.fail({s3_fault("status", {{"status", 301},
                                   {"code", ""},
                                   {"count", 1000},
                                   {"headers", {{"Location", "http://127.0.0.1:1/elsewhere"}}}})});
    require_refusals(settings, {ErrorCode::kRefused, "another region", "AWS_REGION"});
  }
  SECTION("something new") {
    stub.fail({s3_status(418, "Teapot", 1000)});
    require_refusals(settings, {ErrorCode::kIo, "status 418, Teapot: a fault that was asked for", ""});
  }
}

TEST_CASE("a clock that is wrong is said to be so") {
  const S3Stub stub({"--clock-offset", "7200"});
  require_refusals(stub.settings("repo"), {ErrorCode::kRefused, "clocks", "NTP"});
}

TEST_CASE("a server that is not there is told with what libcurl says, and soon") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("repo");
  settings.endpoint = "http://127.0.0.1:1";
  require_refusals(settings, {ErrorCode::kIo, "cannot reach http://127.0.0.1:1", "AWS_ENDPOINT_URL"});
  settings.endpoint = "http://no-such-host.invalid";
  require_refusals(settings,
                   {ErrorCode::kIo, "cannot reach http://no-such-host.invalid", "AWS_ENDPOINT_URL"});
}

TEST_CASE("who may only read reads all, and is told when writing") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("read-only");
  open_s3_store(settings)->put_if_absent("key", as_byte_view("text"));
  settings.credentials = [] { return kStubReader; };
  const auto store = open_s3_store(settings);
  CHECK(as_text(store->get("key", kAnySize)) == "text");
  CHECK_FALSE(store->stat("nothing"));
  CHECK(store->now() > 0);
  const Expected expected{ErrorCode::kRefused, "may not do that", "s3:PutObject"};
  require_refusal(error_of([&] { store->put_if_absent("new", as_byte_view("x")); }), expected);
  require_refusal(error_of([&] { store->remove("key"); }), expected);
  require_refusal(
      error_of([&] { store->replace_if_version("key", as_byte_view("x"), store->stat("key")->version); }),
      expected);
  CHECK(as_text(store->get("key", kAnySize)) == "text");
}

TEST_CASE("session tokens work") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("tokens");
  settings.credentials = [] { return kStubTemporary; };
  const auto store = open_s3_store(settings);
  CHECK(store->put_if_absent("key", random_bytes(1, 100'000)));
  CHECK(store->get("key", kAnySize) == random_bytes(1, 100'000));
}

TEST_CASE("credentials that expire are read anew") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("expiring");
  std::atomic<int> reads = 0;
  settings.credentials = [&reads] {
    return ++reads == 1 ? S3Credentials{"temporary", "old", "old"} : kStubTemporary;
  };
  const auto store = open_s3_store(settings);
  stub.fail({s3_status(400, "ExpiredToken")});
  CHECK(store->put_if_absent("key", as_byte_view("x")));
  CHECK(reads == 2);
}

TEST_CASE("a bucket in another region is found there") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("elsewhere");
  settings.region = "us-east-1";
  const auto store = open_s3_store(settings);
  CHECK(store->put_if_absent("key", as_byte_view("x")));
  CHECK_FALSE(open_s3_store(settings)->stat("nothing"));
  SECTION("but not when it keeps moving") {
    const auto moved_to = [](std::string_view region, int count) {
      return s3_fault("status",
                      {{"status", 301}, {"code", "PermanentRedirect"}, {"region", region}, {"count", count}});
    };
    stub.fail({moved_to("b-1", 1), moved_to("b-2", 1), moved_to("b-3", 99)});
    const Error error = error_of([&] { (void)open_s3_store(settings)->get("key", kAnySize); });
    CHECK_THAT(error.hint(), Catch::Contains("AWS_REGION to b-3"));
  }
}

TEST_CASE("a full store keeps what it has, and says so") {
  const S3Stub stub({"--quota", "3000000"});
  S3Settings settings = stub.settings("repo");
  settings.single_put_bytes_max = kMiB;
  settings.part_bytes = kMiB;
  const auto store = open_s3_store(settings);
  CHECK(store->put_if_absent("first", random_bytes(1, 2'000'000)));
  for (const std::size_t bytes : {std::size_t{1'020'000}, std::size_t{5'000'000}}) {
    const Error error = error_of([&] { store->put_if_absent("second", random_bytes(2, bytes)); });
    require_refusal(error, {ErrorCode::kNoSpace, "quota", "raise the quota"});
    CHECK_FALSE(store->stat("second"));
  }
  CHECK(stub.open_uploads() == 0);
  CHECK(store->get("first", 4 * kMiB) == random_bytes(1, 2'000'000));
}
