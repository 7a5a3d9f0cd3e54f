// SPDX-License-Identifier: Apache-2.0
// Files whose content is not in blocks of their own: shared by reflinks and snapshots, compressed, inline.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/inspect/walked_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 160 * kMiB;

WalkedDisk make_xfs() { return {{"mkfs.xfs", "-q", "--unsupported"}, kVolumeBytes}; }
WalkedDisk make_btrfs() { return {{"mkfs.btrfs", "-q"}, kVolumeBytes}; }

void share(const std::string& from, ByteRange range, const std::string& to, std::uint64_t at) {
  const auto source = FileDescriptor::open(from, O_RDONLY);
  const auto target = FileDescriptor::open(to, O_WRONLY | O_CREAT);
  file_clone_range clone{};
  clone.src_fd = source.get();
  clone.src_offset = range.offset;
  clone.src_length = range.length;
  clone.dest_offset = at;
  REQUIRE(::ioctl(target.get(), FICLONERANGE, &clone) == 0);
}

void require_reflinks_told_once(const WalkedDisk& disk) {
  disk.change([](const std::string& folder) {
    write_file(folder + "/b-original", random_bytes(1, 1 * kMiB + 100));
    run({"cp", "--reflink=always", folder + "/b-original", folder + "/a-copy"});
    run({"cp", "--reflink=always", folder + "/b-original", folder + "/c-changed"});
    const auto changed = FileDescriptor::open(folder + "/c-changed", O_WRONLY);
    write_at(changed.get(), random_bytes(2, 8192), 65'536, "c-changed");
    write_file(folder + "/d-twice", random_bytes(3, 64 * kKiB));
    share(folder + "/d-twice", {0, 64 * kKiB}, folder + "/d-twice", 128 * kKiB);
    write_file(folder + "/e-alone", random_bytes(4, 64 * kKiB));
    write_file(folder + "/f-short", random_bytes(5, 5000));
    run({"cp", "--reflink=always", folder + "/f-short", folder + "/g-short"});
  });
  const Volume volume = disk.walk();
  CHECK(volume.warning.empty());
  CHECK_FALSE(volume.free.empty());
  CHECK(require_same_files(disk.path(), volume, disk.files()) == 4);
  CHECK_FALSE(find_file(volume, "/a-copy")->extents.empty());
  CHECK(find_file(volume, "/b-original")->extents.empty());
  // Some of it is its own; but without the rest it would look like another file.
  CHECK(find_file(volume, "/c-changed")->extents.empty());
  CHECK(find_file(volume, "/d-twice")->extents.empty());
  CHECK_FALSE(find_file(volume, "/e-alone")->extents.empty());
  CHECK_FALSE(find_file(volume, "/f-short")->extents.empty());
  CHECK(find_file(volume, "/g-short")->extents.empty());
}

}  // namespace

TEST_CASE("what files share is told with the first path") {
  if (!can_mount()) return;
  SECTION("XFS") { require_reflinks_told_once(make_xfs()); }
  SECTION("btrfs") { require_reflinks_told_once(make_btrfs()); }
}

TEST_CASE("subvolumes and snapshots of btrfs are folders") {
  if (!can_mount()) return;
  const WalkedDisk disk = make_btrfs();
  disk.change([](const std::string& folder) {
    run({"btrfs", "subvolume", "create", folder + "/@home"});
    run({"btrfs", "subvolume", "create", folder + "/@home/nested"});
    run({"btrfs", "subvolume", "create", folder + "/@home/other"});
    write_file(folder + "/@home/kept", random_bytes(1, 1 * kMiB));
    write_file(folder + "/@home/changed", random_bytes(2, 1 * kMiB));
    write_file(folder + "/@home/nested/deep", random_bytes(3, 1 * kMiB));
    run({"btrfs", "subvolume", "snapshot", "-r", folder + "/@home", folder + "/@snapshot"});
    write_file(folder + "/@home/changed", random_bytes(4, 1 * kMiB));
    write_file(folder + "/@home/nested/deep", random_bytes(5, 1 * kMiB));
    run({"btrfs", "subvolume", "create", folder + "/default"});
    run({"btrfs", "subvolume", "set-default", folder + "/default"});
  });
  const LoopDevice loop = disk.device();
  const Volume volume = walk_devices({loop.path()}, disk.range()).front();
  CHECK(volume.warning.empty());
  const Mounted mount(loop.path(), disk.mounted(), "ro,subvolid=5");
  auto seen = see_files(disk.mounted());
  // Where a subvolume was when the snapshot was made is a folder that is not there: it gets the time of day.
  for (const char* path : {"/@snapshot/nested", "/@snapshot/other"}) seen.at(path).status.st_mtim = {};
  CHECK(require_same_files(disk.path(), volume, seen) == 1);
  CHECK_FALSE(find_file(volume, "/@home/kept")->extents.empty());
  CHECK(find_file(volume, "/@snapshot/kept")->extents.empty());
  CHECK_FALSE(find_file(volume, "/@home/changed")->extents.empty());
  CHECK_FALSE(find_file(volume, "/@snapshot/changed")->extents.empty());
  CHECK_FALSE(find_file(volume, "/@home/nested/deep")->extents.empty());
  CHECK(find_file(volume, "/@snapshot/nested")->type == FileType::kDirectory);
}

TEST_CASE("compressed and inline content of btrfs is told as no extents") {
  if (!can_mount()) return;
  const WalkedDisk disk = make_btrfs();
  const std::string text(1 * kMiB, 'x');
  disk.change(
      [&text](const std::string& folder) {
        write_file(folder + "/text", text);
        write_file(folder + "/noise", random_bytes(1, 1 * kMiB));
        write_file(folder + "/inline", text.substr(0, 100));
        write_file(folder + "/half", text);
        const auto half = FileDescriptor::open(folder + "/half", O_WRONLY);
        write_at(half.get(), random_bytes(2, 256 * kKiB), text.size(), "half");
      },
      "compress=zstd");
  const Volume volume = disk.walk();
  CHECK(require_same_files(disk.path(), volume, disk.files()) == 3);
  CHECK(find_file(volume, "/text")->extents.empty());
  CHECK_FALSE(find_file(volume, "/noise")->extents.empty());
  CHECK(find_file(volume, "/inline")->extents.empty());
  CHECK(find_file(volume, "/half")->extents.empty());
  spoil_free_space(disk.path(), volume);
  const LoopDevice loop = disk.device();
  run({"btrfs", "check", "--check-data-csum", loop.path()});
}

}  // namespace vmpack::test
