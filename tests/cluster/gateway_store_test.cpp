// SPDX-License-Identifier: Apache-2.0
// The S3 store on Ceph's gateway (ceph.sh), which the environment names.
#include <catch2/catch.hpp>

#include <fmt/core.h>
#include <unistd.h>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/s3/s3_settings.hpp"
#include "libvmpack/store/s3/s3_store.hpp"
#include "libvmpack/store/store.hpp"
#include "tests/cluster/location.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

std::string new_location() {
  return fmt::format("s3://{}/{}", program("VMPACK_CLUSTER_BUCKET"), new_prefix());
}

std::unique_ptr<Store> open_as(const std::string& location, const S3Credentials& credentials) {
  S3Settings settings = s3_settings(location, process_environment());
  settings.credentials = [credentials] { return credentials; };
  return open_s3_store(settings);
}

const S3Credentials kSmall{"SMALLTESTKEY", "small-test-secret", ""};

}  // namespace

TEST_CASE("the S3 store keeps the contract of stores on Ceph's gateway") {
  const std::string location = new_location();
  check_store_contract([&] { return open_store(location); });
}

TEST_CASE("the gateway's refusals are told for what they are") {
  const std::string location = new_location();
  CHECK(open_store(location)->put_if_absent("a/b", as_byte_view("x")));
  SECTION("a wrong secret, a key that nobody has, and a stranger to the bucket") {
    for (const S3Credentials& credentials :
         {S3Credentials{"VMPACKTESTKEY", "wrong", ""}, S3Credentials{"NOBODY", "wrong", ""}, kSmall}) {
      const auto store = open_as(location, credentials);
      for (const Error& error : {error_of([&] { (void)store->get("a/b", kMiB); }),
                                 error_of([&] { store->put_if_absent("c", as_byte_view("x")); })}) {
        INFO(error.what());
        CHECK_THAT(error.what(), Catch::Contains(location));
        CHECK_FALSE(error.hint().empty());
        CHECK(error.code() != ErrorCode::kNotFound);
      }
    }
  }
  SECTION("a bucket that is not there") {
    const auto store = open_store("s3://no-such-bucket/x");
    const Error error = error_of([&] { store->put_if_absent("a", as_byte_view("x")); });
    INFO(error.what());
    CHECK_THAT(error.what(), Catch::Contains("no-such-bucket"));
    CHECK_FALSE(error.hint().empty());
  }
}

TEST_CASE("a quota of the gateway that is reached is told as such, and nothing is lost") {
  // Whoever makes a bucket owns it.
  const std::string location =
      fmt::format("s3://{}/{}", program("VMPACK_CLUSTER_SMALL_BUCKET"), new_prefix());
  const auto store = open_as(location, kSmall);
  std::vector<std::string> keys;
  std::optional<Error> failed;
  for (std::uint64_t i = 0; i < 20 && !failed; ++i) {
    std::string key = fmt::format("packs/{}", i);
    try {
      store->put_if_absent(key, random_bytes(i, 5 * kMiB));
      keys.push_back(std::move(key));
    } catch (const Error& error) {
      failed = error;
      CHECK_FALSE(store->stat(key));
    }
  }
  REQUIRE(failed);
  INFO(failed->what());
  CHECK(failed->code() == ErrorCode::kNoSpace);
  for (std::size_t i = 0; i < keys.size(); ++i) CHECK(store->get(keys[i], kGiB) == random_bytes(i, 5 * kMiB));
  for (const std::string& key : keys) store->remove(key);
}
