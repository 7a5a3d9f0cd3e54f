// SPDX-License-Identifier: Apache-2.0
// The S3 store against the stub: the contract of all stores, with every kind of server.
#include <catch2/catch.hpp>

#include <atomic>

#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/s3_stub.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

// Each section of the contract wants an empty store: a prefix of its own.
std::string next_prefix() {
  static std::atomic<int> count = 0;
  return "store-" + std::to_string(++count) + "/below";
}

}  // namespace

TEST_CASE("the S3 store keeps the contract of all stores") {
  static const S3Stub kStub;
  const S3Settings settings = kStub.settings(next_prefix());
  check_store_contract([&] { return open_s3_store(settings); });
}
