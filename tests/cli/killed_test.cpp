// SPDX-License-Identifier: Apache-2.0
// An ingest that is killed at any moment leaves a repository that is whole.
// VMPACK_KILLS says how many moments (40 without it).
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "libvmpack/base/units.hpp"
#include "tests/cli/kills.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

using Clock = std::chrono::steady_clock;

/// 12 MiB of which the larger part is noise.
void make_new_image(const std::string& path) {
  make_sample_image(path, 16 * kMiB, 2);
  overwrite(path, 6 * kMiB, random_bytes(3, 6 * kMiB));
  overwrite(path, 12 * kMiB, text_bytes(4, 2 * kMiB));
}

std::vector<int> children_of(int process) {
  std::vector<int> children;
  std::error_code ended;
  for (const auto& thread :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process), ended)) {
    std::ifstream list(thread.path() / "children");
    for (int child = 0; list >> child;) {
      children.push_back(child);
      for (const int below : children_of(child)) children.push_back(below);
    }
  }
  return children;
}

bool runs(int process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::stringstream text;
  text << file.rdbuf();
  const std::size_t name_end = text.str().rfind(')');
  return name_end != std::string::npos && text.str().at(name_end + 2) != 'Z';
}

}  // namespace

TEST_CASE("an ingest killed at any moment leaves what was there, and the next one succeeds") {
  const SampleRepository repository(memory_folder());
  use_small_packs(repository);
  const std::string old_image = repository / "old";
  make_sample_image(old_image, 8 * kMiB, 1, {"-t", "ext4", "-O", "^has_journal"});
  repository.ingest(old_image, "old:1");
  const std::string new_image = repository / "new";
  make_new_image(new_image);
  const std::string trial = repository / "trial";
  const std::string out = repository / "out";
  const std::vector<std::string> ingest{program("VMPACK"), "ingest",  new_image, "new:1",
                                        "--no-os",         "--quiet", "--repo",  trial};
  const auto begin_trial = [&] {
    std::filesystem::remove_all(trial);
    std::filesystem::copy(repository.path(), trial, std::filesystem::copy_options::recursive);
  };
  const auto require_snapshot = [&](const std::string& reference, const std::string& image) {
    vmpack_done({"restore", reference, out, "--force", "--quiet", "--repo", trial});
    REQUIRE(same_bytes(out, image));
  };

  const std::uint64_t killed = kill_at_random_moments(ingest, kills_wanted(), 20'26, begin_trial, [&] {
    vmpack_done({"verify", "--repo", trial});
    require_snapshot("old:1", old_image);
    vmpack_done({"ingest", new_image, "new:1", "--force", "--no-os", "--quiet", "--repo", trial});
    require_snapshot("new:1", new_image);
    require_snapshot("old:1", old_image);
    vmpack_done({"verify", "--repo", trial});
    for (const auto& entry : std::filesystem::recursive_directory_iterator(trial + "/tmp")) {
      INFO("left behind: " << entry.path());
      CHECK(std::filesystem::file_size(entry.path()) == 0);  // a lock at most
    }
  });
  CHECK(killed * 2 >= kills_wanted());
}

TEST_CASE("a snapshot killed at any moment leaves what was there, and the next one succeeds") {
  const SampleRepository repository(memory_folder());
  const std::string base = repository / "base";
  make_sample_image(base, 12 * kMiB, 1);
  repository.ingest(base, "base:1");
  const std::string overlay = repository / "overlay.qcow2";
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay});
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 3M 2M", "-c", "write -z 1M 1M", overlay});
  const std::string flat = repository / "flat";
  run_tool({"qemu-img", "convert", "-O", "raw", overlay, flat});
  const std::string trial = repository / "trial";
  const std::string out = repository / "out";
  const std::vector<std::string> snapshot{program("VMPACK"), "snapshot", "base:1",  "base:2",
                                          "--overlay",       overlay,    "--no-os", "--quiet",
                                          "--force",         "--repo",   trial};
  const auto begin_trial = [&] {
    std::filesystem::remove_all(trial);
    std::filesystem::copy(repository.path(), trial, std::filesystem::copy_options::recursive);
  };
  const auto require_snapshot = [&](const std::string& reference, const std::string& image) {
    vmpack_done({"restore", reference, out, "--force", "--quiet", "--repo", trial});
    REQUIRE(same_bytes(out, image));
  };
  static_cast<void>(kill_at_random_moments(snapshot, kills_wanted() / 2, 20'27, begin_trial, [&] {
    vmpack_done({"verify", "--repo", trial});
    require_snapshot("base:1", base);
    REQUIRE(wait_for(start_command(snapshot)) == 0);
    require_snapshot("base:2", flat);
    vmpack_done({"verify", "--repo", trial});
  }));
}

TEST_CASE("the helpers of an ingest that is killed end with it") {
  const SampleRepository repository(memory_folder());
  const std::string image = repository / "image.qcow2";
  make_new_image(repository / "raw");
  run_tool({"qemu-img", "convert", "-O", "qcow2", repository / "raw", image});
  constexpr int kTrials = 5;
  std::size_t helpers_seen = 0;
  for (int i = 0; i < kTrials; ++i) {
    const int process = start_command({program("VMPACK"), "ingest", image, fmt::format("a:{}", i), "--no-os",
                                       "--quiet", "--repo", repository.path()});
    std::vector<int> helpers;
    while (helpers.empty() && runs(process)) helpers = children_of(process);
    std::this_thread::sleep_for(std::chrono::milliseconds(10) * i);
    for (const int child : children_of(process)) helpers.push_back(child);
    ::kill(process, SIGKILL);
    static_cast<void>(wait_for(process));
    helpers_seen += helpers.size();
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    for (const int helper : helpers) {
      while (runs(helper) && Clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      CHECK_FALSE(runs(helper));
    }
  }
  CHECK(helpers_seen > 0);
  repository.require_intact();
}

}  // namespace vmpack::test
