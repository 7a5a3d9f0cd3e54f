// SPDX-License-Identifier: Apache-2.0
// Many processes write into one repository at once, while others read it.
#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr int kWriters = 4;
constexpr std::uint64_t kImage = 96 * kMiB;

/// Builds of one disk: most of it in common, at other places behind what each has of its own.
void make_build(const std::string& path, int number) {
  Bytes disk = random_bytes(50, kImage);
  const Bytes own = random_bytes(100 + static_cast<std::uint64_t>(number), 2 * kMiB);
  const auto at = static_cast<std::ptrdiff_t>((10 + 20 * static_cast<std::uint64_t>(number)) * kMiB);
  std::ranges::copy(own, disk.begin() + at);
  write_file(path, disk);
}

std::uint64_t stored_bytes(const SampleRepository& repository) {
  return vmpack_json({"stats", "--repo", repository.path()}).at("repository_bytes").get<std::uint64_t>();
}

}  // namespace

TEST_CASE(
    "processes that write at once, while others list and verify, leave a whole repository without waste") {
  const SampleRepository in_turn(memory_folder());
  const SampleRepository at_once(memory_folder());
  use_small_packs(in_turn);
  use_small_packs(at_once);
  std::vector<std::string> images;
  for (int i = 0; i < kWriters; ++i) {
    images.push_back(at_once / fmt::format("build{}", i));
    make_build(images.back(), i);
    in_turn.ingest(images.back(), fmt::format("build:{}", i));
  }
  std::vector<int> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.push_back(
        start_command({program("VMPACK"), "ingest", images[static_cast<std::size_t>(i)],
                       fmt::format("build:{}", i), "--no-os", "--quiet", "--repo", at_once.path()}));
  }
  for (int i = 0; i < 3; ++i) {
    vmpack_done({"list", "--repo", at_once.path()});
    at_once.require_intact();
  }
  for (const int writer : writers) CHECK(wait_for(writer) == 0);
  at_once.require_intact();
  for (int i = 0; i < kWriters; ++i) {
    const std::string out = at_once / "out";
    at_once.restore(fmt::format("build:{}", i), out);
    CHECK(same_bytes(out, images[static_cast<std::size_t>(i)]));
  }
  const std::uint64_t apart = stored_bytes(in_turn);
  const std::uint64_t together = stored_bytes(at_once);
  INFO(together << " bytes at once, " << apart << " in turn");
  CHECK(together <= apart + apart / 20);
}

}  // namespace vmpack::test
