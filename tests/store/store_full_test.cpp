// SPDX-License-Identifier: Apache-2.0
// A directory store on a full disk.
#include <catch2/catch.hpp>

#include <fmt/core.h>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/store.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/small_file_system.hpp"

using namespace vmpack;
using namespace vmpack::test;

TEST_CASE("a put that finds the disk full says so, leaves nothing, and harms nothing") {
  if (!SmallFileSystem::possible()) {
    WARN("cannot mount file systems here");
    return;
  }
  const auto kind = GENERATE(SmallFileSystem::Kind::kTmpfs, SmallFileSystem::Kind::kExt4);
  const SmallFileSystem file_system(kind, 8 * kMiB);
  const auto store = open_directory_store(file_system.path());
  std::vector<std::string> keys;
  ErrorCode code = ErrorCode::kIo;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    std::string key = fmt::format("packs/{:02}/{}", i % 10, i);
    try {
      store->put_if_absent(key, random_bytes(i, 300'000));
    } catch (const Error& error) {
      code = error.code();
      CHECK_THAT(error.what(), Catch::Contains(key));
      CHECK_THAT(error.hint(), Catch::Contains("free some space"));
      CHECK_FALSE(store->stat(key));
      break;
    }
    keys.push_back(std::move(key));
  }
  CHECK(code == ErrorCode::kNoSpace);
  REQUIRE(keys.size() > 10);

  const std::string counter = keys.front();
  CHECK(error_of([&] {
          store->replace_if_version(counter, Bytes(600'000), store->stat(counter)->version);
        }).code() == ErrorCode::kNoSpace);
  for (std::size_t i = 0; i < keys.size(); ++i) CHECK(store->get(keys[i], kMiB) == random_bytes(i, 300'000));
  std::size_t listed = 0;
  store->list("", [&](const std::string&, std::uint64_t) { ++listed; });
  CHECK(listed == keys.size());
  for (const std::string& name : files_below(file_system.path() + "/tmp")) CHECK(name == "lock");

  // Room is made by removing, even on a full disk.
  store->remove(keys[1]);
  store->remove(keys[2]);
  CHECK(store->put_if_absent("packs/after", random_bytes(1, 300'000)));
}
