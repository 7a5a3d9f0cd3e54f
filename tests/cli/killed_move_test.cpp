// SPDX-License-Identifier: Apache-2.0
// What moves snapshots may be killed at any moment: the other side is whole, and the next run ends the work.
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/kills.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

/// Two repositories: one with two images, of which the other one has the first.
struct TwoSides {
  SampleRepository source{memory_folder()};
  SampleRepository target{memory_folder()};
  std::string old_image = source / "old";
  std::string new_image = source / "new";
  std::string trial = target / "trial";

  TwoSides() {
    use_small_packs(source);
    use_small_packs(target);
    make_sample_image(old_image, 8 * kMiB, 1, {"-t", "ext4", "-O", "^has_journal"});
    make_sample_image(new_image, 24 * kMiB, 2);
    overwrite(new_image, 10 * kMiB, random_bytes(3, 12 * kMiB));
    source.ingest(old_image, "old:1");
    source.ingest(new_image, "new:1");
    vmpack_done({"copy", "old:1", "--repo", source.path(), "--to", target.path()});
  }

  void begin() const {
    std::filesystem::remove_all(trial);
    std::filesystem::copy(target.path(), trial, std::filesystem::copy_options::recursive);
  }
  void require_image(const std::string& reference, const std::string& image) const {
    const std::string out = target / "out";
    vmpack_done({"restore", reference, out, "--force", "--quiet", "--repo", trial});
    REQUIRE(same_bytes(out, image));
  }
  /// Whole after a kill; and after the next run with both images.
  void check(const std::vector<std::string>& again) const {
    vmpack_done({"verify", "--repo", trial});
    require_image("old:1", old_image);
    vmpack_done(again);
    vmpack_done({"verify", "--repo", trial});
    require_image("old:1", old_image);
    require_image("new:1", new_image);
  }
};

}  // namespace

TEST_CASE("a copy killed at any moment leaves what was there, and the next one ends it") {
  const TwoSides sides;
  const std::vector<std::string> copy{"copy", "--all",    "--quiet", "--repo", sides.source.path(),
                                      "--to", sides.trial};
  std::vector<std::string> command{program("VMPACK")};
  command.insert(command.end(), copy.begin(), copy.end());
  const std::uint64_t killed = kill_at_random_moments(
      command, kills_wanted(), 20'28, [&] { sides.begin(); }, [&] { sides.check(copy); });
  CHECK(killed * 2 >= kills_wanted());
}

TEST_CASE("an import killed at any moment leaves what was there, and the next one ends it") {
  const TwoSides sides;
  const std::string file = sides.source / "file.vmpack";
  vmpack_done({"export", "--all", file, "--since", "old:1", "--repo", sides.source.path()});
  const std::vector<std::string> import{"import", file, "--quiet", "--repo", sides.trial};
  std::vector<std::string> command{program("VMPACK")};
  command.insert(command.end(), import.begin(), import.end());
  const std::uint64_t kills = kills_wanted() / 2;
  const std::uint64_t killed =
      kill_at_random_moments(command, kills, 20'29, [&] { sides.begin(); }, [&] { sides.check(import); });
  CHECK(killed * 2 >= kills);
}

}  // namespace vmpack::test
