// SPDX-License-Identifier: Apache-2.0
// A repository in a bucket, as its users have it: vmpack and vmserve on the S3 stub.
#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/s3_stub.hpp"

namespace vmpack::test {
namespace {

struct Bucket {
  explicit Bucket(const std::vector<std::string>& options = {}) : stub(options) {
    options_.environment = stub.environment();
    options_.environment.emplace_back("VMPACK_REPO", "s3://bucket/repo");
  }
  [[nodiscard]] CommandOptions as(const S3Credentials& user) const {
    CommandOptions options = options_;
    options.environment.emplace_back("AWS_ACCESS_KEY_ID", user.access_key);
    options.environment.emplace_back("AWS_SECRET_ACCESS_KEY", user.secret_key);
    if (!user.session_token.empty())
      options.environment.emplace_back("AWS_SESSION_TOKEN", user.session_token);
    return options;
  }
  void init() const { vmpack_done({"init", "s3://bucket/repo"}, options_); }
  void ingest(const std::string& image, const std::string& reference) const {
    vmpack_done({"ingest", "--no-os", image, reference}, options_);
  }
  void require_restored(const std::string& reference, const std::string& raw) const {
    const std::string out = folder / "restored";
    std::filesystem::remove(out);
    vmpack_done({"restore", reference, out}, as(kStubReader));
    CHECK(same_bytes(raw, out));
  }

  TempDir folder;
  S3Stub stub;
  CommandOptions options_;
};

/// vmserve on a unix socket, until it goes out of scope.
class Served {
 public:
  explicit Served(const Bucket& bucket) : socket_(bucket.folder / "nbd.sock") {
    const std::string ready = bucket.folder / "ready";
    process_ = start_command({program("VMSERVE"), "--nbd", "unix:" + socket_, "--ready-file", ready},
                             bucket.as(kStubReader));
    for (int i = 0; i < 2000 && !std::filesystem::exists(ready); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE(std::filesystem::exists(ready));
  }
  ~Served() {
    ::kill(process_, SIGTERM);
    static_cast<void>(wait_for(process_));
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  [[nodiscard]] std::string uri(std::string_view name) const {
    return "nbd+unix:///" + std::string(name) + "?socket=" + socket_;
  }

 private:
  std::string socket_;
  int process_ = 0;
};

}  // namespace

TEST_CASE("a bucket holds a repository: made, filled, listed, verified, restored and served") {
  const Bucket bucket;
  bucket.init();
  const std::string first = bucket.folder / "first.raw";
  const std::string second = bucket.folder / "second.raw";
  make_disk_with_two_volumes(first, 1);
  make_mixed_disk(second, 8 * kMiB, 2);
  bucket.ingest(first, "disk:1");
  bucket.ingest(second, "disk:2");
  const OrderedJson again = vmpack_json({"ingest", "--no-os", first, "disk:3"}, bucket.options_);
  CHECK(again.at("objects_new") == 0);
  CHECK_THAT(vmpack_done({"list"}, bucket.as(kStubReader)),
             Catch::Contains("disk:1") && Catch::Contains("disk:3"));
  CHECK(vmpack({"verify"}, bucket.as(kStubReader)).exit_code == 0);
  bucket.require_restored("disk:1", first);
  bucket.require_restored("disk:2", second);
  const Served server(bucket);
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "raw", first, server.uri("disk:3")});
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "raw", second, server.uri("disk:2")});
  CHECK(bucket.stub.open_uploads() == 0);
}

TEST_CASE("an ingest gets through a server that fails now and then, and so does a restore") {
  const Bucket bucket({"--conditions", "ignored"});
  bucket.init();
  const std::string image = bucket.folder / "disk.raw";
  make_mixed_disk(image, 8 * kMiB, 3);
  bucket.stub.fail({s3_fault("status", {{"status", 503}, {"code", "SlowDown"}, {"skip", 4}}),
                    s3_fault("lost_reply", {{"method", "PUT"}, {"key", "/packs/"}}),
                    s3_fault("lost_reply", {{"method", "PUT"}, {"key", "/refs/"}}),
                    s3_fault("reset", {{"method", "PUT"}, {"key", "/snapshots/"}})});
  bucket.ingest(image, "disk:1");
  bucket.stub.fail(
      {s3_fault("shift_range"), s3_fault("truncate", {{"method", "GET"}}), s3_fault("reset", {{"skip", 3}})});
  bucket.require_restored("disk:1", image);
}

TEST_CASE("what stops a repository in a bucket is told in one line") {
  const Bucket bucket;
  bucket.init();
  const std::string image = bucket.folder / "disk.raw";
  make_mixed_disk(image, kMiB, 4);
  const auto listed = [](const CommandOptions& options) { return vmpack({"list"}, options); };
  require_one_line(vmpack({"init", "s3://bucket/repo"}, bucket.options_), 1, {"s3://bucket/repo", "already"});
  require_one_line(vmpack({"init", "s3://missing/repo"}, bucket.options_), 1,
                   {"no bucket missing", "make the bucket first"});
  require_one_line(listed(bucket.as({"tester", "wrong", ""})), 1,
                   {"refuses the signature", "AWS_SECRET_ACCESS_KEY"});
  require_one_line(listed(bucket.as({"temporary", kStubTemporary.secret_key, "old"})), 1, {"session token"});
  require_one_line(listed(bucket.as(kStubStranger)), 1, {"may not do that", "s3:GetObject"});
  require_one_line(vmpack({"ingest", "--quiet", "--no-os", image, "disk:1"}, bucket.as(kStubReader)), 1,
                   {"may not do that", "s3:PutObject"});
  require_one_line(vmpack({"list", "--repo", "s3://bucket/nothing"}, bucket.options_), 1,
                   {"is not a vmpack repository", "vmpack init s3://bucket/nothing"});
  require_one_line(vmpack({"list", "--repo", "s3://bucket/repo?stile=path"}, bucket.options_), 2,
                   {"stile", "style=path"});
  CommandOptions nobody = bucket.options_;
  nobody.environment.emplace_back("AWS_ACCESS_KEY_ID", "");
  require_one_line(listed(nobody), 1, {"AWS_ACCESS_KEY_ID"});
}

TEST_CASE("an ingest into a store that gets full fails, and leaves what was there") {
  const Bucket bucket({"--quota", "12000000"});
  bucket.init();
  const std::string small = bucket.folder / "small.raw";
  const std::string large = bucket.folder / "large.raw";
  write_file(small, random_bytes(1, 4 * kMiB));
  write_file(large, random_bytes(2, 16 * kMiB));
  bucket.ingest(small, "disk:1");
  require_one_line(vmpack({"ingest", "--quiet", "--no-os", large, "disk:2"}, bucket.options_), 1,
                   {"quota", "unharmed"});
  CHECK(vmpack({"verify"}, bucket.options_).exit_code == 0);
  bucket.require_restored("disk:1", small);
}

}  // namespace vmpack::test
