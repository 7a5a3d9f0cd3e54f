// SPDX-License-Identifier: Apache-2.0
#include "tests/support/s3_stub.hpp"

#include <signal.h>

#include <filesystem>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/s3/http.hpp"
#include "tests/support/files.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

constexpr std::chrono::seconds kStartTimeMax{120};

}  // namespace

S3Stub::S3Stub(const std::vector<std::string>& options) {
  const std::string ready = folder_ / "endpoint";
  std::vector<std::string> command{"python3", program("VMPACK_SOURCE_DIR") + "/tests/support/s3_stub.py",
                                   "--ready-file", ready};
  command.insert(command.end(), options.begin(), options.end());
  process_ = start_command(command);
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeMax;
  while (!std::filesystem::exists(ready)) {
    if (std::chrono::steady_clock::now() > deadline) {
      ::kill(process_, SIGKILL);
      static_cast<void>(wait_for(process_));
      throw Error(ErrorCode::kIo, "s3_stub.py does not start");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  endpoint_ = as_text(read_file(ready));
}

S3Stub::~S3Stub() {
  ::kill(process_, SIGTERM);
  static_cast<void>(wait_for(process_));
}

S3Settings S3Stub::settings(std::string_view prefix) const {
  S3Settings settings;
  settings.bucket = "bucket";
  settings.prefix = prefix;
  settings.endpoint = endpoint_;
  settings.region = "stub-region-1";
  settings.credentials = [] { return kStubTester; };
  settings.retry.attempts_max = 4;
  settings.retry.first_wait_max = std::chrono::milliseconds(2);
  settings.retry.wait_max = std::chrono::milliseconds(20);
  return settings;
}

std::vector<std::pair<std::string, std::string>> S3Stub::environment() const {
  return {{"AWS_ENDPOINT_URL", endpoint_},
          {"AWS_ACCESS_KEY_ID", kStubTester.access_key},
          {"AWS_SECRET_ACCESS_KEY", kStubTester.secret_key},
          {"AWS_REGION", "stub-region-1"},
          {"AWS_CONFIG_FILE", "/dev/null"},
          {"AWS_SHARED_CREDENTIALS_FILE", "/dev/null"}};
}

void S3Stub::fail(const std::vector<OrderedJson>& faults) const { control({{"faults", faults}}); }

void S3Stub::set_conditions(std::string_view conditions) const {
  control({{"faults", OrderedJson::array()}, {"conditions", conditions}});
}

void S3Stub::pass(std::int64_t seconds) const { control({{"pass", seconds}}); }

void S3Stub::empty() const { control({{"empty", true}}); }

void S3Stub::control(const OrderedJson& wanted) const {
  const std::string text = wanted.dump();
  const ByteView bytes = as_byte_view(text);
  PartsBody body(std::span(&bytes, 1));
  HttpClient client({});
  const HttpReply reply =
      client.perform({.method = "POST", .url = endpoint_ + "/_control", .body = &body}, {"x", "x", "x"});
  if (reply.status != 200) throw Error(ErrorCode::kIo, "s3_stub.py refuses: " + reply.problem_text);
}

OrderedJson S3Stub::told() const {
  HttpClient client({});
  const HttpReply reply = client.perform(
      {.method = "GET", .url = endpoint_ + "/_control", .body_bytes_max = 64 * kMiB}, {"x", "x", "x"});
  return OrderedJson::parse(as_text(reply.body));
}

std::vector<std::string> S3Stub::requests() const { return told().at("requests"); }
int S3Stub::connections() const { return told().at("connections"); }
int S3Stub::open_uploads() const { return told().at("uploads"); }

const S3Stub& shared_s3_stub() {
  static const S3Stub kStub;
  kStub.set_conditions("heeded");
  return kStub;
}

OrderedJson s3_fault(std::string_view kind, const OrderedJson& more) {
  OrderedJson fault = {{"kind", kind}, {"count", 1}};
  fault.update(more);
  return fault;
}

OrderedJson s3_status(int status, std::string_view code, int count) {
  return s3_fault("status", {{"status", status}, {"code", code}, {"count", count}});
}

}  // namespace vmpack::test
