// SPDX-License-Identifier: Apache-2.0
// Whatever is done to a repository, in any order: every reference reads back as the exact bytes it stands
// for. VMPACK_HISTORY_STEPS says how many operations each seed does (12 without it).
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

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
    const std::uint64_t kind = disks_.empty() ? 0 : random_.below(8);
    if (kind <= 1) return ingest();
    if (kind <= 4) return snapshot();
    return ingest_below_parent();
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
    repository_.ingest(disk, name, {"--force"});
    disks_[name] = disk;
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
    std::vector<std::string> arguments{"snapshot", parent,    name,      "--no-os", "--overlay",
                                       overlay,    "--force", "--quiet", "--repo",  repository_.path()};
    if (random_.below(3) == 0) arguments.emplace_back("--no-facts");
    vmpack_done(arguments);
    disks_[name] = disk;
  }

  void ingest_below_parent() {
    const std::string parent = any();
    const std::string name = choose_name();
    const std::string disk = changed_copy(parent, name);
    repository_.ingest(disk, name, {"--force", "--parent", parent});
    disks_[name] = disk;
  }

  Random random_;
  SampleRepository repository_;
  std::map<std::string, std::string> disks_;
  int count_ = 0;
  int files_ = 0;
};

}  // namespace

TEST_CASE("after any sequence of ingests and snapshots every reference reads back exactly") {
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
