// SPDX-License-Identifier: Apache-2.0
// Whatever is done to a repository, in any order: every reference reads back as the exact bytes it stands
// for. VMPACK_HISTORY_STEPS says how many operations each seed does (12 without it).
#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kDisk = 6 * kMiB;

int steps_wanted() {
  const char* text = std::getenv("VMPACK_HISTORY_STEPS");
  return text != nullptr ? std::atoi(text) : 12;
}

/// A repository, and what each of its references must read as.
class History {
 public:
  explicit History(std::uint64_t seed) : random_(seed), repository_(memory_folder()) {}

  void step() {
    const std::uint64_t kind = disks_.empty() ? 0 : random_.below(12);
    if (kind <= 1) return ingest();
    if (kind <= 5) return snapshot();
    if (kind <= 8) return ingest_below_parent();
    if (kind <= 10) return tag();
    return untag();
  }

  void check() const {
    const std::string restored = repository_ / "restored";
    for (const auto& [name, disk] : disks_) {
      INFO(name);
      repository_.restore(name, restored);
      REQUIRE(same_bytes(restored, disk));
    }
    repository_.require_intact();
  }

 private:
  std::string new_disk(const std::string& name) const { return repository_ / ("disk-" + name.substr(2)); }

  /// A new name, or at times one that is moved.
  std::string choose_name() {
    if (disks_.size() > 1 && random_.below(4) == 0) return any();
    return "d:" + std::to_string(++count_);
  }
  std::string any() {
    auto disk = disks_.begin();
    std::advance(disk, static_cast<std::ptrdiff_t>(random_.below(disks_.size())));
    return disk->first;
  }

  void change(const std::string& path, std::uint64_t size) {
    for (std::uint64_t count = 1 + random_.below(5); count > 0; --count) {
      const std::uint64_t length = 1 + random_.below(random_.below(3) == 0 ? 400'000 : 9000);
      const std::uint64_t offset = random_.below(size - length);
      switch (random_.below(3)) {
        case 0:
          overwrite(path, offset, random_bytes(random_.next(), length));
          break;
        case 1:
          overwrite(path, offset, text_bytes(random_.next(), length));
          break;
        default:
          overwrite(path, offset, Bytes(length));
      }
    }
  }

  void ingest() {
    const std::string name = choose_name();
    const std::string disk = new_disk(name) + "-" + std::to_string(++files_);
    if (random_.below(2) == 0) {
      make_sample_image(disk, kDisk, random_.next());
    } else {
      make_mixed_disk(disk, kDisk, random_.next());
    }
    run({"ingest", disk, name, "--no-os", "--force"}, name, disk);
  }

  /// A copy of a parent's disk with changes, at times larger.
  std::string changed_copy(const std::string& parent, const std::string& name) {
    const std::string disk = new_disk(name) + "-" + std::to_string(++files_);
    fs::copy_file(disks_.at(parent), disk);
    if (random_.below(5) == 0) fs::resize_file(disk, fs::file_size(disk) + random_.below(900) * kSectorBytes);
    change(disk, fs::file_size(disk));
    return disk;
  }

  void snapshot() {
    const std::string parent = any();
    const std::string name = choose_name();
    const std::string disk = changed_copy(parent, name);
    // A base as large as the overlay, so that the overlay says it is as large too.
    const std::string base = repository_ / "base";
    fs::copy_file(disks_.at(parent), base, fs::copy_options::overwrite_existing);
    const std::string overlay = repository_ / "overlay.qcow2";
    const std::vector<std::string> clusters{"4k", "64k", "512"};
    run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
              "cluster_size=" + clusters[random_.below(3)], "-B", base, "-F", "raw", disk, overlay});
    fs::remove(base);
    std::vector<std::string> arguments{
        "snapshot", "d@" + snapshot_of(parent), name, "--no-os", "--overlay", overlay, "--force"};
    if (random_.below(3) == 0) arguments.emplace_back("--no-facts");
    run(arguments, name, disk);
  }

  void ingest_below_parent() {
    const std::string parent = any();
    const std::string name = choose_name();
    const std::string disk = changed_copy(parent, name);
    // Killed, it may have moved the parent's name already.
    const std::string fixed = "d@" + snapshot_of(parent);
    run({"ingest", disk, name, "--no-os", "--force", "--parent", fixed}, name, disk);
  }

  void tag() {
    const std::string from = any();
    const std::string name = choose_name();
    const std::string disk = disks_.at(from);
    run({"tag", "d@" + snapshot_of(from), name, "--force"}, name, disk);
  }

  void untag() {
    if (disks_.size() == 1) return;
    const std::string name = any();
    vmpack_done({"untag", name, "--quiet", "--repo", repository_.path()});
    disks_.erase(name);
    INFO(name << " was untagged");
    REQUIRE(vmpack({"show", name, "--repo", repository_.path()}).exit_code == 1);
  }

  [[nodiscard]] std::string snapshot_of(const std::string& name) const {
    return vmpack_json({"show", name, "--repo", repository_.path()}).at("snapshot");
  }

  /// Runs what makes `name` stand for `disk`; at times it is killed first, somewhere on its way.
  void run(std::vector<std::string> arguments, const std::string& name, const std::string& disk) {
    arguments.insert(arguments.end(), {"--quiet", "--repo", repository_.path()});
    if (random_.below(3) == 0) {
      run_and_kill(arguments);
      check_after_kill(name, disk);
    }
    vmpack_done(arguments);
    disks_[name] = disk;
  }

  void run_and_kill(const std::vector<std::string>& arguments) {
    std::vector<std::string> command{program("VMPACK")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const int process = start_command(command);
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(120'000)));
    ::kill(process, SIGKILL);
    static_cast<void>(wait_for(process));
  }

  /// `name` stands for what it stood for, or for the new disk; all others as before.
  void check_after_kill(const std::string& name, const std::string& disk) {
    const std::string restored = repository_ / "restored";
    const auto before = disks_.find(name);
    const bool is_there =
        vmpack({"restore", name, restored, "--force", "--quiet", "--repo", repository_.path()}).exit_code ==
        0;
    INFO(name << " after a kill");
    REQUIRE((is_there || before == disks_.end()));
    if (is_there) {
      const bool is_new = same_bytes(restored, disk);
      REQUIRE((is_new || (before != disks_.end() && same_bytes(restored, before->second))));
      disks_[name] = is_new ? disk : before->second;
    }
    check();
  }

  Random random_;
  SampleRepository repository_;
  std::map<std::string, std::string> disks_;
  int count_ = 0;
  int files_ = 0;
};

}  // namespace

TEST_CASE(
    "after any sequence of ingests, snapshots, tags, untags and kills every reference reads back exactly") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    History history(seed);
    for (int step = 0; step < steps_wanted(); ++step) {
      INFO("seed " << seed << ", step " << step);
      history.step();
      history.check();
    }
  }
}

}  // namespace vmpack::test
