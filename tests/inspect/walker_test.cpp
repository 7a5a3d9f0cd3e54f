// SPDX-License-Identifier: Apache-2.0
// What vmpack-volume-walker finds on sound file systems, held against what the kernel shows of them.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/inspect/walked_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 160 * kMiB;

struct Kind {
  const char* name;
  const char* type;
  std::vector<std::string> make;
  std::vector<std::string> check;
  std::uint64_t bytes = kVolumeBytes;
  std::uint64_t sector_bytes = kSectorBytes;
  const char* mount_options = "defaults";
};

Kind mounted_with(const char* options, Kind kind) {
  kind.mount_options = options;
  return kind;
}

std::vector<std::string> with(std::vector<std::string> command, const std::vector<std::string>& options) {
  command.insert(command.end(), options.begin(), options.end());
  return command;
}

Kind xfs(const char* name, const std::vector<std::string>& options,
         std::uint64_t sector_bytes = kSectorBytes) {
  // Unsupported is nothing but their size.
  return {name,
          "xfs",
          with({"mkfs.xfs", "-q", "--unsupported", "-L", "sample"}, options),
          {"xfs_repair", "-n"},
          kVolumeBytes,
          sector_bytes};
}
Kind ext(const char* name, const char* type, const std::vector<std::string>& options,
         std::uint64_t sector_bytes = kSectorBytes) {
  return {name,
          type,
          with({"mke2fs", "-q", "-L", "sample", "-t", type}, options),
          {"e2fsck", "-f", "-n"},
          kVolumeBytes,
          sector_bytes};
}
Kind btrfs(const char* name, const std::vector<std::string>& options, std::uint64_t bytes = kVolumeBytes,
           std::uint64_t sector_bytes = kSectorBytes) {
  return {name,
          "btrfs",
          with({"mkfs.btrfs", "-q", "-L", "sample"}, options),
          {"btrfs", "check", "--check-data-csum"},
          bytes,
          sector_bytes};
}

std::vector<Kind> kinds() {
  return {xfs("XFS", {}),
          xfs("XFS that maps backwards", {"-m", "rmapbt=1"}),
          xfs("XFS with 1 KiB blocks", {"-b", "size=1024", "-m", "reflink=0"}),
          xfs("XFS on sectors of 4 KiB", {}, 4096),
          xfs("XFS of many small groups", {"-d", "agcount=10", "-i", "size=2048", "-n", "size=65536"}),
          ext("ext4", "ext4", {"-b", "4096"}),
          ext("ext4 with 1 KiB blocks", "ext4", {"-b", "1024"}),
          ext("ext4 in clusters", "ext4", {"-b", "4096", "-O", "bigalloc", "-C", "16384"}),
          ext("ext4 with data in inodes", "ext4", {"-b", "4096", "-O", "inline_data"}),
          ext("ext4 on sectors of 4 KiB", "ext4", {}, 4096),
          ext("ext2", "ext2", {"-b", "4096"}),
          ext("ext3", "ext3", {"-b", "4096"}),
          btrfs("btrfs", {}),
          btrfs("btrfs without copies", {"-m", "single"}),
          btrfs("btrfs with two copies of all", {"-d", "DUP", "-m", "DUP"}, 2 * kVolumeBytes),
          btrfs("btrfs with data among metadata", {"--mixed"}),
          btrfs("btrfs with large nodes", {"-n", "65536"}),
          mounted_with("space_cache=v1", btrfs("btrfs as it was", {"-O", "^no-holes,^skinny-metadata", "-R",
                                                                   "^free-space-tree"})),
          btrfs("btrfs on sectors of 4 KiB", {}, kVolumeBytes, 4096)};
}

void sync_all_of(const std::string& folder) {
  const auto file = FileDescriptor::open(folder, O_RDONLY);
  REQUIRE(::syncfs(file.get()) == 0);
}

/// Small files between which holes are left for large ones.
void fragment(const std::string& folder) {
  std::filesystem::create_directory(folder + "/pieces");
  for (int i = 0; i < 400; ++i) {
    write_file(fmt::format("{}/pieces/{}", folder, i), random_bytes(1000, 20'000));
  }
  sync_all_of(folder);
  for (int i = 0; i < 400; i += 2) std::filesystem::remove(fmt::format("{}/pieces/{}", folder, i));
  sync_all_of(folder);
  write_file(folder + "/in-pieces", random_bytes(1001, 8 * kMiB));
}

/// Files of all kinds, and what is left of files removed since.
void fill(const std::string& folder) {
  write_file(folder + "/removed", random_bytes(2000, 10 * kMiB));
  fill_tree(folder);
  fragment(folder);
  sync_all_of(folder);
  std::filesystem::remove(folder + "/removed");
  const auto preallocated = FileDescriptor::open(folder + "/preallocated", O_WRONLY | O_CREAT);
  REQUIRE((::posix_fallocate(preallocated.get(), 0, 1 * kMiB) == 0));
  write_at(preallocated.get(), random_bytes(2001, 5000), 100'000, "preallocated");
  const auto ahead = FileDescriptor::open(folder + "/room-behind", O_WRONLY | O_CREAT);
  write_at(ahead.get(), random_bytes(2002, 5000), 0, "room-behind");
  static_cast<void>(::fallocate(ahead.get(), FALLOC_FL_KEEP_SIZE, 0, 1 * kMiB));
  REQUIRE(::mkfifo((folder + "/fifo").c_str(), 0600) == 0);
  REQUIRE(::mknod((folder + "/device").c_str(), S_IFBLK | 0660, 0x0801) == 0);
  REQUIRE(::mknod((folder + "/terminal").c_str(), S_IFCHR | 0600, 0x0401) == 0);
  REQUIRE(::mknod((folder + "/socket").c_str(), S_IFSOCK | 0755, 0) == 0);
  REQUIRE(::lchown((folder + "/a-b").c_str(), 70'000, 80'000) == 0);
  std::filesystem::create_hard_link(folder + "/a/deep/er/large", folder + "/0-hard-link");
  const timespec long_ago[2] = {{-1'000'000, 0}, {-1'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, (folder + "/a/x").c_str(), long_ago, 0) == 0);
}

void require_sound(const WalkedDisk& disk, std::vector<std::string> check) {
  const LoopDevice loop = disk.device();
  check.push_back(loop.path());
  run(check);
}

}  // namespace

TEST_CASE("every file is there, its bytes lie at its extents, and free space is free") {
  if (!can_mount()) return;
  for (const Kind& kind : kinds()) {
    DYNAMIC_SECTION(kind.name) {
      const WalkedDisk disk(kind.make, kind.bytes, kind.sector_bytes);
      disk.change(fill, kind.mount_options);
      const auto seen = disk.files();
      const Volume volume = disk.walk();
      CHECK(volume.warning.empty());
      REQUIRE(volume.inspected);
      CHECK_FALSE(volume.dirty);
      CHECK(volume.type == kind.type);
      CHECK(volume.label == "sample");
      CHECK(volume.uuid.size() == 36);
      const std::string_view name = kind.name;
      CHECK(volume.block_bytes == (name.ends_with("1 KiB blocks") ? 1024 : 4096));
      const std::size_t without_extents = require_same_files(disk.path(), volume, seen);
      const bool may_be_inline = volume.type == "btrfs" || name.ends_with("in inodes");
      if (!may_be_inline) CHECK(without_extents == 0);
      // Most of it: the logs and tables of small file systems take a third.
      CHECK(total(volume.free) > kind.bytes / 4);

      spoil_free_space(disk.path(), volume);
      require_sound(disk, kind.check);
      require_same_files(disk.path(), volume, disk.files());
    }
  }
}

}  // namespace vmpack::test
