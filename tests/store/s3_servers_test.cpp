// SPDX-License-Identifier: Apache-2.0
// The contract of all stores on servers and settings that are not the usual ones.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/s3/s3_store.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/s3_stub.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

// Each section of the contract wants an empty store: a prefix of its own.
std::string next_prefix() {
  static int count = 0;
  return "store-" + std::to_string(++count) + "/below";
}

}  // namespace

TEST_CASE(
    "an S3 store keeps the contract in several parts, from temporary files, in short pages, with the bucket "
    "in the host's name") {
  static const S3Stub kStub({"--page", "3", "--part-min", "5000000", "--conditions", "single"});
  S3Settings settings = kStub.settings(next_prefix());
  settings.virtual_host = true;
  settings.single_put_bytes_max = 5'000'000;
  settings.part_bytes = 5'000'000;
  settings.spool_memory_bytes = kMiB;
  settings.http.connections_max = 2;
  check_store_contract([&] { return open_s3_store(settings); });
}

TEST_CASE("a server that wants entity tags without quotes, as Ceph's gateway does, keeps the contract too") {
  static const S3Stub kStub({"--conditions", "bare"});
  const S3Settings settings = kStub.settings(next_prefix());
  check_store_contract([&] { return open_s3_store(settings); });
}

TEST_CASE("where conditions are ignored, the last writer wins and all else holds") {
  static const S3Stub kStub({"--conditions", "ignored"});
  const S3Settings settings = kStub.settings(next_prefix());
  check_store_contract([&] { return open_s3_store(settings); }, Races::kLastWriterWins);
}

TEST_CASE("where conditions are refused, the last writer wins and all else holds") {
  static const S3Stub kStub({"--conditions", "refused"});
  const S3Settings settings = kStub.settings(next_prefix());
  check_store_contract([&] { return open_s3_store(settings); }, Races::kLastWriterWins);
}
