// SPDX-License-Identifier: Apache-2.0
// Which devices the volume walker can be pointed at, and what it leaves behind there.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/inspect/walked_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 128 * kMiB;

void add_large_file(const std::string& folder) { write_file(folder + "/large", random_bytes(1, 1 * kMiB)); }

bool is_read_only(const LoopDevice& device) { return run({"blockdev", "--getro", device.path()}) == "1\n"; }

}  // namespace

TEST_CASE("offsets are those of the disk under a partition") {
  if (!can_mount()) return;
  const std::uint64_t sector_bytes = GENERATE(512, 4096);
  CAPTURE(sector_bytes);
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 200 * kMiB);
  const ByteRange disk_range{4 * kMiB, 190 * kMiB};
  LoopDevice loop(disk, disk_range, sector_bytes);
  const std::string partition = loop.add_partition({3 * kMiB, kVolumeBytes});
  run({"mkfs.xfs", "-q", "--unsupported", partition});
  {
    const Mounted mount(partition, folder / "mounted");
    add_large_file(folder / "mounted");
  }
  const ByteRange range{disk_range.offset + 3 * kMiB, kVolumeBytes};
  const Volume volume = walk_devices({partition}, range).front();
  CHECK(volume.warning.empty());
  CHECK_FALSE(volume.free.empty());
  CHECK((content_of(disk, *find_file(volume, "/large")) == random_bytes(1, 1 * kMiB)));
}

TEST_CASE("a whole disk can be a volume") {
  if (!can_mount()) return;
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, kVolumeBytes);
  const LoopDevice loop(disk, {0, kVolumeBytes});
  run({"mkfs.btrfs", "-q", loop.path()});
  {
    const Mounted mount(loop.path(), folder / "mounted");
    add_large_file(folder / "mounted");
  }
  const Volume volume = walk_devices({loop.path()}, {0, kVolumeBytes}).front();
  CHECK(volume.warning.empty());
  REQUIRE_FALSE(volume.free.empty());
  // What btrfs leaves to boot loaders is not its to give away.
  CHECK(volume.free.front().offset >= 1 * kMiB);
  CHECK((content_of(disk, *find_file(volume, "/large")) == random_bytes(1, 1 * kMiB)));
}

TEST_CASE("a device that cannot be read costs itself alone") {
  if (!can_mount()) return;
  const WalkedDisk good({"mkfs.xfs", "-q", "--unsupported"}, kVolumeBytes);
  good.change(add_large_file);
  const WalkedDisk empty({"true"}, 16 * kMiB);
  const LoopDevice good_device = good.device();
  const LoopDevice empty_device = empty.device();
  const auto volumes = walk_devices(
      {"/dev/there-is-no-such", good.path(), "/dev/null", empty_device.path(), good_device.path()},
      good.range());
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK_FALSE(volumes[i].inspected);
    CHECK_FALSE(volumes[i].warning.empty());
  }
  CHECK_FALSE(volumes[3].inspected);
  CHECK(volumes[3].type.empty());
  CHECK(volumes[3].warning.empty());
  CHECK(volumes[4].inspected);
  CHECK(find_file(volumes[4], "/large") != nullptr);
}

TEST_CASE("swap space is told by name, asleep or not") {
  if (!can_mount()) return;
  const WalkedDisk disk({"mkswap", "-q", "-L", "pages"}, 16 * kMiB);
  const Volume awake = disk.walk();
  CHECK_FALSE(awake.inspected);
  CHECK(awake.type == "swap");
  CHECK(awake.label == "pages");
  CHECK(awake.uuid.size() == 36);
  CHECK(awake.warning.empty());
  overwrite(disk.path(), disk.range().offset + 4096 - 10, as_byte_view(std::string_view("S1SUSPEND\0", 10)));
  CHECK(disk.walk().type == "swsuspend");
}

TEST_CASE("clones of one file system are each read by itself") {
  if (!can_mount()) return;
  const std::string make = GENERATE("mkfs.xfs", "mkfs.btrfs");
  CAPTURE(make);
  const WalkedDisk disk(make == "mkfs.xfs" ? std::vector<std::string>{make, "-q", "--unsupported"}
                                           : std::vector<std::string>{make, "-q"},
                        kVolumeBytes);
  disk.change(add_large_file);
  const TempDir folder;
  std::filesystem::copy_file(disk.path(), folder / "clone");
  {
    const LoopDevice clone(folder / "clone", disk.range());
    const Mounted mount(clone.path(), folder / "mounted", make == "mkfs.xfs" ? "nouuid" : "defaults");
    write_file(folder / "mounted/younger", random_bytes(2, 1 * kMiB));
  }
  const LoopDevice older = disk.device();
  const LoopDevice younger(folder / "clone", disk.range());
  const auto volumes = walk_devices({older.path(), younger.path(), older.path()}, disk.range());
  for (const Volume& volume : volumes) CHECK(volume.warning.empty());
  CHECK(find_file(volumes[0], "/younger") == nullptr);
  CHECK(find_file(volumes[1], "/younger") != nullptr);
  CHECK(find_file(volumes[2], "/younger") == nullptr);
}

TEST_CASE("the walker writes nothing, and leaves the device as it was") {
  if (!can_mount()) return;
  const WalkedDisk disk({"mkfs.xfs", "-q", "--unsupported"}, kVolumeBytes);
  disk.change(add_large_file);
  const TempDir folder;
  std::filesystem::copy_file(disk.path(), folder / "before");
  const LoopDevice loop = disk.device();
  CHECK(walk_devices({loop.path()}, disk.range()).front().inspected);
  CHECK_FALSE(is_read_only(loop));
  run({"cmp", disk.path(), folder / "before"});
}

TEST_CASE("wrong use of the walker is told as such") {
  CHECK(run_command({VMPACK_VOLUME_WALKER}).exit_code == 2);
  CHECK(run_command({VMPACK_VOLUME_WALKER, "/tmp/out"}).exit_code == 2);
  const CommandResult result = run_command({VMPACK_VOLUME_WALKER, "/nowhere/out", "/dev/null"});
  CHECK(result.exit_code == 1);
  CHECK_THAT(result.err, Catch::Contains("/nowhere/out"));
}

}  // namespace vmpack::test
