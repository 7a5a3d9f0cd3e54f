// SPDX-License-Identifier: Apache-2.0
// The S3 server for tests (s3_stub.py), started and stopped, and told what to do wrong.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/json.hpp"
#include "libvmpack/store/s3/s3_settings.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

class S3Stub {
 public:
  /// With more options of s3_stub.py. Its port is free, its bucket is called "bucket" and empty.
  explicit S3Stub(const std::vector<std::string>& options = {});
  ~S3Stub();
  S3Stub(const S3Stub&) = delete;
  S3Stub& operator=(const S3Stub&) = delete;

  /// "http://localhost:PORT".
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

  /// For a store below `prefix`: waits little before it tries again, and gives up soon.
  [[nodiscard]] S3Settings settings(std::string_view prefix) const;
  /// The variables that a program needs to reach it.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> environment() const;

  /// Replaces the faults that are waiting, and forgets the requests so far.
  void fail(const std::vector<OrderedJson>& faults) const;
  /// From now on, as the option --conditions. No faults are waiting then.
  void set_conditions(std::string_view conditions) const;
  /// Moves the clock that dates values and answers.
  void pass(std::int64_t seconds) const;
  /// Removes all values.
  void empty() const;
  /// "METHOD key?query status" of each request since the last fail().
  [[nodiscard]] std::vector<std::string> requests() const;
  [[nodiscard]] int connections() const;
  /// Multipart uploads that were begun and have not ended.
  [[nodiscard]] int open_uploads() const;

 private:
  [[nodiscard]] OrderedJson told() const;
  void control(const OrderedJson& wanted) const;

  TempDir folder_;
  int process_ = 0;
  std::string endpoint_;
};

/// One that all tests of a program may use, without faults waiting. Starting one takes longer than most
/// tests.
[[nodiscard]] const S3Stub& shared_s3_stub();

/// A fault as s3_stub.py takes it, of one request unless `more` has another "count".
[[nodiscard]] OrderedJson s3_fault(std::string_view kind, const OrderedJson& more = OrderedJson::object());
/// An answer with this status and code, to so many requests.
[[nodiscard]] OrderedJson s3_status(int status, std::string_view code, int count = 1);

/// What the stub knows its users by.
inline const S3Credentials kStubTester{"tester", "s3cret/of+the=tester", ""};
inline const S3Credentials kStubReader{"reader", "reader-secret", ""};
inline const S3Credentials kStubStranger{"stranger", "stranger-secret", ""};
inline const S3Credentials kStubTemporary{"temporary", "temporary-secret", "token/of+today=="};

}  // namespace vmpack::test
