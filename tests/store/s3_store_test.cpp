// SPDX-License-Identifier: Apache-2.0
// The S3 store on the stub: the contract of all stores, and what is its own.
#include <catch2/catch.hpp>

#include <ranges>
#include <thread>

#include "libvmpack/store/s3/s3_client.hpp"
#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/s3_stub.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::uint64_t kAnySize = 64 * kMiB;

std::size_t count_of(const std::vector<std::string>& requests, std::string_view start) {
  return static_cast<std::size_t>(std::ranges::count_if(
      requests, [&](const std::string& request) { return request.starts_with(start); }));
}

Bytes put_draft(Store& store, std::string_view key, std::size_t bytes) {
  Bytes value = random_bytes(bytes, bytes);
  const auto draft = store.begin_draft();
  for (std::size_t at = 0; at < bytes; at += 100'000) {
    const ByteView piece = ByteView(value).subspan(at, std::min<std::size_t>(100'000, bytes - at));
    draft->append(std::span(&piece, 1));
  }
  CHECK(draft->put_if_absent(key));
  return value;
}

}  // namespace

TEST_CASE("the S3 store keeps the contract of all stores") {
  static int sections = 0;  // each wants an empty store
  const S3Settings settings = shared_s3_stub().settings("store-" + std::to_string(++sections) + "/below");
  check_store_contract([&] { return open_s3_store(settings); });
}

TEST_CASE("a store at the root of a bucket works, and lists nothing that is no key") {
  const S3Stub stub;
  const auto store = open_s3_store(stub.settings(""));
  CHECK(store->location() == "s3://bucket");
  CHECK(store->put_if_absent("a/b", as_byte_view("x")));
  CHECK(open_s3_store(stub.settings("a b"))->put_if_absent("c", as_byte_view("x")));
  std::vector<std::string> keys;
  store->list("", [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  CHECK(keys == std::vector<std::string>{"a/b"});
}

TEST_CASE("a draft in memory, one in a file, and one in both come back whole") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("drafts");
  settings.spool_memory_bytes = 3 * kMiB;
  settings.single_put_bytes_max = 4 * kMiB;
  settings.part_bytes = 2 * kMiB;
  const auto store = open_s3_store(settings);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{kMiB}, std::size_t{3 * kMiB},
                                  std::size_t{3 * kMiB + 1}, std::size_t{9'999'999}}) {
    const std::string key = "draft-" + std::to_string(bytes);
    const Bytes value = put_draft(*store, key, bytes);
    CHECK(std::ranges::equal(store->get(key, kAnySize), value));
  }
  const auto holds_all_memory = store->begin_draft();
  const Bytes all(3 * kMiB);
  const ByteView view = all;
  holds_all_memory->append(std::span(&view, 1));
  CHECK(store->get("in-file", kAnySize) == put_draft(*store, "in-file", 5'000'000));
  CHECK(stub.open_uploads() == 0);
}

TEST_CASE("connections are kept, and no more requests run at once than are allowed") {
  const S3Stub& stub = shared_s3_stub();
  S3Settings settings = stub.settings("kept");
  settings.http.connections_max = 3;
  const auto store = open_s3_store(settings);
  store->put_if_absent("key", as_byte_view("0123456789"));
  const int before = stub.connections();  // asking makes one of its own
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      Bytes range(3);
      for (int i = 0; i < 100; ++i) store->get_range("key", 2, range);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(stub.connections() - before - 1 <= 2);
}

TEST_CASE("a small put is one request, and reading never writes") {
  const S3Stub& stub = shared_s3_stub();
  const auto store = open_s3_store(stub.settings("few"));
  store->put_if_absent("first", as_byte_view("x"));  // asks what the server can do
  stub.fail({});
  store->put_if_absent("second", as_byte_view("x"));
  CHECK(stub.requests() == std::vector<std::string>{"PUT few/second 200"});
  stub.fail({});
  const auto reader = open_s3_store(stub.settings("few"));
  (void)reader->get("first", kAnySize);
  (void)reader->stat("nothing");
  (void)reader->now();
  reader->list("", [](const std::string&, std::uint64_t) {});
  CHECK(count_of(stub.requests(), "PUT") + count_of(stub.requests(), "POST") == 0);
}

TEST_CASE("the clock is the server's") {
  const S3Stub stub({"--clock-offset", "600"});
  const auto store = open_s3_store(stub.settings("clock"));
  const auto here = std::chrono::system_clock::now().time_since_epoch() / std::chrono::seconds(1);
  CHECK(std::abs(store->now() - here - 600) <= 2);
}

TEST_CASE("values that another program copied have versions too") {
  const S3Stub& stub = shared_s3_stub();
  const auto store = open_s3_store(stub.settings("copied"));
  store->put_if_absent("key", as_byte_view("x"));
  // Signed by the store's own client, without the id that its puts leave.
  S3Client client(stub.settings("copied"));
  const ByteView text = as_byte_view("copied");
  PartsBody body(std::span(&text, 1));
  (void)client.send({.method = "PUT", .full_key = "copied/key", .body = &body, .doing = "cannot write"});
  const auto found = store->stat("key");
  REQUIRE(found);
  CHECK(store->replace_if_version("key", as_byte_view("y"), found->version));
  CHECK_FALSE(store->replace_if_version("key", as_byte_view("z"), found->version));
}

TEST_CASE("an https server is trusted by the authority that AWS_CA_BUNDLE names, and by nothing else") {
  const TempDir folder;
  const std::string key = folder / "key.pem";
  const std::string certificate = folder / "certificate.pem";
  const std::string both = folder / "both.pem";
  run_or_throw({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                key, "-out", certificate});
  Bytes joined = read_file(certificate);
  append(joined, read_file(key));
  write_file(both, joined);
  const S3Stub stub({"--tls", both});
  S3Settings settings = stub.settings("tls");
  const Error error = error_of([&] { (void)open_s3_store(settings)->stat("key"); });
  CHECK(error.code() == ErrorCode::kRefused);
  CHECK_THAT(error.what(), Catch::Contains("is not to be trusted"));
  CHECK_THAT(error.hint(), Catch::Contains("AWS_CA_BUNDLE"));
  settings.http.ca_bundle = certificate;
  const auto store = open_s3_store(settings);
  CHECK(store->put_if_absent("key", random_bytes(1, 500'000)));
  CHECK(store->get("key", kAnySize) == random_bytes(1, 500'000));
}
