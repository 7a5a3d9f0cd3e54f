// SPDX-License-Identifier: Apache-2.0
// The helpers that other tests lean on.
#include <catch2/catch.hpp>

#include <filesystem>

#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

TEST_CASE("a command's exit code and both outputs are kept") {
  const auto result = run_command({"sh", "-c", "echo out; echo err >&2; exit 3"});
  CHECK(result.exit_code == 3);
  CHECK(result.out == "out\n");
  CHECK(result.err == "err\n");
}

TEST_CASE("a command reads more input than a pipe holds while it writes as much") {
  const std::string input(1'000'000, 'x');
  CHECK(run_command({"cat"}, {.input = input}).out == input);
}

TEST_CASE("a command that does not end is killed") {
  CHECK(run_command({"sleep", "100"}, {.timeout = std::chrono::seconds(1)}).exit_code == 128 + 9);
}

TEST_CASE("a command runs in the folder and with the variables it was given") {
  const TempDir folder;
  const auto result =
      run_command({"sh", "-c", "pwd; echo $A"}, {.environment = {{"A", "b"}}, .folder = folder.path()});
  CHECK(result.out == folder.path() + "\nb\n");
  CHECK(run_command({"no-such-program-here"}).exit_code == 127);
}

TEST_CASE("a temporary folder is gone with its contents") {
  std::string path;
  {
    const TempDir folder;
    path = folder.path();
    write_file(folder / "a", "text");
    CHECK(as_text(read_file(folder / "a")) == "text");
    CHECK(files_below(path) == std::vector<std::string>{"a"});
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("random bytes depend on the seed alone") {
  CHECK(random_bytes(1, 1001) == random_bytes(1, 1001));
  CHECK(random_bytes(1, 1001) != random_bytes(2, 1001));
}
