// SPDX-License-Identifier: Apache-2.0
// File systems that were in use when their image was made, or that are damaged: no free space then.
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <sstream>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/inspect/walked_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 128 * kMiB;
const std::vector<std::string> kMakeXfs{"mkfs.xfs", "-q", "--unsupported"};
const std::vector<std::string> kMakeExt4{"mke2fs", "-q", "-t", "ext4", "-b", "4096"};
const std::vector<std::string> kMakeBtrfs{"mkfs.btrfs", "-q"};

void fill(const std::string& folder) {
  fill_tree(folder);
  write_file(folder + "/removed", random_bytes(1, 4 * kMiB));
}

/// Copies the disk while it is mounted and `change` was made. Nothing is replayed in the copy.
Volume walk_copy_in_use(const WalkedDisk& disk, const std::string& copy,
                        const std::function<void(const std::string&)>& change) {
  disk.change([&](const std::string& folder) {
    change(folder);
    std::filesystem::copy_file(disk.path(), copy);
  });
  const Bytes before = read_file(copy);
  const LoopDevice loop(copy, disk.range());
  Volume volume = walk_devices({loop.path()}, disk.range()).front();
  CHECK((read_file(copy) == before));
  return volume;
}

void sync_file(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY);
  REQUIRE(::fsync(file.get()) == 0);
}

void sync_all_of(const std::string& folder) {
  const auto file = FileDescriptor::open(folder, O_RDONLY);
  REQUIRE(::syncfs(file.get()) == 0);
}

void add_and_remove(const std::string& folder) {
  std::filesystem::remove(folder + "/removed");
  write_file(folder + "/new", random_bytes(2, 1 * kMiB));
}

/// A number that a program prints behind a name.
std::uint64_t printed(const std::vector<std::string>& command, const std::string& name) {
  std::istringstream words(run(command));
  for (std::string word; words >> word;) {
    if (word == name && words >> word) return std::stoull(word);
  }
  FAIL(command.front() << " does not say: " << name);
  return 0;
}

void require_damaged(const Volume& volume) {
  CHECK(volume.inspected);
  CHECK(volume.free.empty());
  CHECK_THAT(volume.warning, Catch::Contains("damaged"));
}

}  // namespace

TEST_CASE("XFS and ext4 are dirty when they were in use, and clean again after") {
  if (!can_mount()) return;
  const auto make = GENERATE(kMakeXfs, kMakeExt4);
  CAPTURE(make.front());
  const bool synced = GENERATE(false, true);
  CAPTURE(synced);
  const WalkedDisk disk(make, kVolumeBytes);
  disk.change(fill);
  CHECK_FALSE(disk.walk().dirty);
  const TempDir folder;
  const Volume volume = walk_copy_in_use(disk, folder / "copy", [synced](const std::string& mounted) {
    add_and_remove(mounted);
    sync_file(mounted + "/new");
    if (synced) sync_all_of(mounted);
  });
  CHECK(volume.inspected);
  CHECK(volume.dirty);
  CHECK(volume.free.empty());
  CHECK(volume.warning.empty());
  CHECK(find_file(volume, "/many/17") != nullptr);
  const Volume after = disk.walk();
  CHECK_FALSE(after.dirty);
  CHECK_FALSE(after.free.empty());
}

TEST_CASE("btrfs is dirty when files were synced since its last commit") {
  if (!can_mount()) return;
  const WalkedDisk disk(kMakeBtrfs, kVolumeBytes);
  disk.change(fill);
  const TempDir folder;
  const Volume volume = walk_copy_in_use(disk, folder / "copy", [](const std::string& mounted) {
    add_and_remove(mounted);
    sync_file(mounted + "/new");
  });
  CHECK(volume.inspected);
  CHECK(volume.dirty);
  CHECK(volume.free.empty());
  CHECK_FALSE(disk.walk().dirty);
}

TEST_CASE("btrfs that was in use is as it was at its last commit, and so is its free space") {
  if (!can_mount()) return;
  const bool synced = GENERATE(false, true);
  CAPTURE(synced);
  const WalkedDisk disk(kMakeBtrfs, kVolumeBytes);
  disk.change(fill);
  const TempDir folder;
  const std::string copy = folder / "copy";
  const Volume volume = walk_copy_in_use(disk, copy, [synced](const std::string& mounted) {
    add_and_remove(mounted);
    if (synced) sync_all_of(mounted);
  });
  CHECK_FALSE(volume.dirty);
  CHECK_FALSE(volume.free.empty());
  spoil_free_space(copy, volume);
  const LoopDevice loop(copy, disk.range());
  run({"btrfs", "check", "--check-data-csum", loop.path()});
  const Mounted mount(loop.path(), folder / "mounted", "ro");
  require_same_files(copy, volume, see_files(folder / "mounted"));
}

TEST_CASE("ext4 with errors on record is dirty") {
  if (!can_mount()) return;
  const WalkedDisk disk(kMakeExt4, kVolumeBytes);
  disk.change(fill);
  {
    const LoopDevice loop = disk.device();
    debugfs(loop.path(), "set_super_value state 2");
  }
  const Volume volume = disk.walk();
  CHECK(volume.inspected);
  CHECK(volume.dirty);
  CHECK(volume.free.empty());
}

TEST_CASE("free space is not told when its tables are damaged") {
  if (!can_mount()) return;
  SECTION("XFS") {
    const WalkedDisk disk(kMakeXfs, kVolumeBytes);
    disk.change(fill);
    overwrite(disk.path(), disk.range().offset + 4096 + 100, random_bytes(3, 100));
    const Volume volume = disk.walk();
    require_damaged(volume);
    CHECK(find_file(volume, "/many/17") != nullptr);
  }
  SECTION("ext4") {
    const WalkedDisk disk(kMakeExt4, kVolumeBytes);
    disk.change(fill);
    const LoopDevice loop = disk.device();
    const std::uint64_t bitmap = printed({"debugfs", "-R", "stats", loop.path()}, "at") * 4096;
    overwrite(disk.path(), disk.range().offset + bitmap, random_bytes(3, 100));
    run({"blockdev", "--flushbufs", loop.path()});
    const Volume volume = walk_devices({loop.path()}, disk.range()).front();
    require_damaged(volume);
    CHECK(find_file(volume, "/many/17") != nullptr);
  }
}

TEST_CASE("free space is not told when a file lies in it") {
  if (!can_mount()) return;
  SECTION("XFS") {
    const WalkedDisk disk(kMakeXfs, kVolumeBytes);
    disk.change(fill);
    const LoopDevice loop = disk.device();
    // The last free stretch of the first group begins a hundred blocks earlier.
    const std::vector<std::string> db{"xfs_db", "-x", "-c", "agf 0", "-c", "addr bnoroot"};
    auto ask = db;
    ask.insert(ask.end(), {"-c", "print numrecs", loop.path()});
    const std::string last = std::to_string(printed(ask, "="));
    auto change = db;
    change.insert(change.end(), {"-c", "write -d recs[" + last + "].startblock 100", "-c",
                                 "write -d recs[" + last + "].blockcount 4000", loop.path()});
    run(change);
    require_damaged(walk_devices({loop.path()}, disk.range()).front());
  }
  SECTION("ext4") {
    const WalkedDisk disk(kMakeExt4, kVolumeBytes);
    disk.change(fill);
    const Volume before = disk.walk();
    const FileExtent& extent = find_file(before, "/a/deep/er/large")->extents.front();
    const std::uint64_t block = (extent.disk_offset - disk.range().offset) / 4096;
    {
      const LoopDevice loop = disk.device();
      debugfs(loop.path(), "freeb " + std::to_string(block) + " 10");
    }
    require_damaged(disk.walk());
  }
}

TEST_CASE("directories and files that are damaged are left out, with a warning") {
  if (!can_mount()) return;
  const WalkedDisk disk(kMakeExt4, kVolumeBytes);
  disk.change(fill);
  {
    const LoopDevice loop = disk.device();
    debugfs(loop.path(), "set_inode_field /many mode 0");
    debugfs(loop.path(), "set_inode_field /a/deep/er/large block[2] 77");
  }
  const Volume volume = disk.walk();
  require_damaged(volume);
  CHECK(find_file(volume, "/many") == nullptr);
  CHECK(find_file(volume, "/a/x") != nullptr);
}

TEST_CASE("a file system that cannot be mounted is opaque, with a warning") {
  if (!can_mount()) return;
  const auto make = GENERATE(kMakeXfs, kMakeExt4, kMakeBtrfs);
  CAPTURE(make.front());
  const WalkedDisk disk(make, kVolumeBytes);
  disk.change(fill);
  // All but the type, in each of the places where one of the three has its superblock.
  for (const std::uint64_t at : {std::uint64_t{8}, 1 * kKiB + 0x70, 64 * kKiB + 0x48}) {
    overwrite(disk.path(), disk.range().offset + at, random_bytes(4, 150));
  }
  const Volume volume = disk.walk();
  CHECK_FALSE(volume.inspected);
  CHECK(volume.files.empty());
  CHECK(volume.free.empty());
  CHECK_FALSE(volume.warning.empty());
  CHECK_FALSE(volume.type.empty());
}

TEST_CASE("btrfs over several devices is opaque, with a warning") {
  if (!can_mount()) return;
  const WalkedDisk first({"true"}, kVolumeBytes);
  const WalkedDisk second({"true"}, kVolumeBytes);
  const LoopDevice one = first.device();
  const LoopDevice two = second.device();
  run({"mkfs.btrfs", "-q", "-d", "single", "-m", "raid1", one.path(), two.path()});
  for (const Volume& volume : walk_devices({one.path(), two.path()}, first.range())) {
    CHECK_FALSE(volume.inspected);
    CHECK(volume.type == "btrfs");
    CHECK_THAT(volume.warning, Catch::Contains("more than one device"));
  }
}

}  // namespace vmpack::test
