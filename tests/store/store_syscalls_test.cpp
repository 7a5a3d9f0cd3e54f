// SPDX-License-Identifier: Apache-2.0
// A directory store whose system calls fail, or whose process is killed in them, one after the other
// (strace).
#include <catch2/catch.hpp>

#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/store.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

const std::vector<std::string> kKeys = {"packs/aa/one", "packs/bb/two", "top"};

Bytes value_of(std::size_t number) { return random_bytes(number, 100'000 + number); }

// Runs "[writer]" below on the store in `folder` with system calls tampered with as strace's -e inject says.
CommandResult write_with_faults(const std::string& folder, const std::string& inject) {
  // Sanitizers look for leaks by ptrace, which strace has taken.
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  return run_command({"strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=" + inject, self, "[writer]"},
                     {.environment = {{"VMPACK_TEST_STORE", folder}, {"ASAN_OPTIONS", "detect_leaks=0"}}});
}

bool can_tamper() {
  const TempDir folder;
  return write_with_faults(folder.path(), "fsync:error=EIO:when=1000").exit_code == 0;
}

// Whatever happened: values are whole or not there, nothing else is listed, and the store goes on working.
void check_sound(const std::string& folder) {
  const auto store = open_directory_store(folder);
  std::size_t listed = 0;
  store->list("", [&](const std::string&, std::uint64_t) { ++listed; });
  for (std::size_t i = 0; i < kKeys.size(); ++i) {
    if (!store->stat(kKeys[i])) continue;
    CHECK(store->get(kKeys[i], kMiB) == value_of(i));
    --listed;
  }
  if (store->stat("counter")) {
    const Bytes counter = store->get("counter", 100);
    CHECK((as_text(counter) == "1" || as_text(counter) == "2"));
    --listed;
  }
  CHECK(listed == 0);
  CHECK(store->put_if_absent("after", as_byte_view("x")));
  for (const std::string& name : files_below(folder + "/tmp")) CHECK(name == "lock");
}

}  // namespace

TEST_CASE("writes what the other tests disturb", "[.][writer]") {
  const char* folder = std::getenv("VMPACK_TEST_STORE");
  REQUIRE(folder != nullptr);
  const auto store = open_directory_store(folder);
  for (std::size_t i = 1; i < kKeys.size(); ++i) REQUIRE(store->put_if_absent(kKeys[i], value_of(i)));
  const auto draft = store->begin_draft();
  const Bytes value = value_of(0);
  const std::vector<ByteView> halves = {ByteView(value).first(50'000), ByteView(value).subspan(50'000)};
  for (const ByteView& half : halves) draft->append(std::span(&half, 1));
  REQUIRE(draft->put_if_absent(kKeys[0]));
  REQUIRE(store->put_if_absent("counter", as_byte_view("1")));
  REQUIRE(store->replace_if_version("counter", as_byte_view("2"), store->stat("counter")->version));
  store->remove("counter");
}

TEST_CASE("whichever system call fails or is the last, values are whole or not there") {
  if (!can_tamper()) {
    WARN("strace cannot tamper with system calls here");
    return;
  }
  const std::string call =
      GENERATE("mkdirat", "writev", "utimensat", "fsync", "renameat2", "renameat", "flock", "unlinkat");
  const auto disturb = [&](const std::string& fault, int count) {
    const TempDir folder;
    const std::string inject = fmt::format("{}:{}:when={}", call, fault, count);
    INFO(inject);
    const CommandResult result = write_with_faults(folder.path(), inject);
    check_sound(folder.path());
    return result;
  };
  int calls = 0;
  while (disturb("signal=KILL", calls + 1).exit_code != 0) ++calls;
  CHECK(calls > 0);
  for (int count = 1; count <= calls; ++count) {
    (void)disturb("error=EIO", count);
    const CommandResult result = disturb("error=ENOSPC", count);
    if (call == "writev" || call == "fsync")
      CHECK_THAT(result.out, Catch::Contains("No space left on device"));
  }
}

TEST_CASE("a file system without an exclusive rename is served by hard links") {
  if (!can_tamper()) {
    WARN("strace cannot tamper with system calls here");
    return;
  }
  const std::string fault = GENERATE("renameat2:error=EINVAL", "renameat2:error=ENOSYS");
  const TempDir folder;
  const CommandResult result = write_with_faults(folder.path(), fault);
  INFO(result.out);
  CHECK(result.exit_code == 0);
  for (std::size_t i = 0; i < kKeys.size(); ++i) {
    CHECK(read_file(folder / kKeys[i]) == value_of(i));
    CHECK(std::filesystem::hard_link_count(folder / kKeys[i]) == 1);
  }
  const CommandResult again = write_with_faults(folder.path(), fault);
  CHECK(again.exit_code != 0);
  check_sound(folder.path());
}
