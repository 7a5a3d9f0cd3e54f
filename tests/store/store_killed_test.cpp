// SPDX-License-Identifier: Apache-2.0
// A directory store whose writers are killed.
#include <catch2/catch.hpp>

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/store.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::size_t kValueBytes = kMiB;
constexpr std::uint64_t kKeys = 1000;

Bytes value_of(std::uint64_t number) { return random_bytes(number, kValueBytes + number); }

// Puts values and replaces one until it is killed.
[[noreturn]] void write_for_ever(const std::string& path, std::uint64_t first) {
  const auto store = open_directory_store(path);
  for (std::uint64_t i = first;; ++i) {
    store->put_if_absent(fmt::format("packs/{:02}/{}", i % 100, i), value_of(i));
    const auto stat = store->stat("refs/latest");
    store->replace_if_version("refs/latest", as_byte_view(fmt::format("<{:010}>", i)),
                              stat ? std::optional(stat->version) : std::nullopt);
  }
}

}  // namespace

TEST_CASE("a writer killed at any moment leaves whole values, and the next one cleans up") {
  const TempDir folder;
  Random random(11);
  std::uint64_t values = 0;
  for (std::uint64_t round = 0; round < 60; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) write_for_ever(folder.path(), round * kKeys);
    ::usleep(static_cast<useconds_t>(random.below(60'000)));
    ::kill(child, SIGKILL);
    CHECK(wait_for(child) == 128 + SIGKILL);

    const auto store = open_directory_store(folder.path());
    store->list("packs/", [&](const std::string& key, std::uint64_t) {
      const std::uint64_t number = std::strtoull(key.c_str() + key.rfind('/') + 1, nullptr, 10);
      REQUIRE(store->get(key, 2 * kValueBytes) == value_of(number));
      ++values;
      store->remove(key);
    });
    if (store->stat("refs/latest")) CHECK(store->get("refs/latest", 100).size() == 12);
    store->put_if_absent(fmt::format("sweep/{}", round), as_byte_view("x"));
    for (const std::string& name : files_below(folder / "tmp")) CHECK(name == "lock");
  }
  CHECK(values > 20);
}
