// SPDX-License-Identifier: Apache-2.0
// What people are told of volumes that stay opaque, and of which nothing is said.
#include "libvmpack/inspect/opaque.hpp"

#include <catch2/catch.hpp>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

std::string warning_of(const std::string& type, const std::string& partition_type = {}) {
  Volume volume;
  volume.number = 3;
  volume.type = type;
  volume.partition_type = partition_type;
  return opaque_warning(volume);
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A GPT disk with one partition of 8 MiB, and what lies at its start.
Layout inspect_partition(ByteView content, WarningKeeper& keeper, const std::string& type = {}) {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 16 * kMiB);
  run({"sfdisk", "-q", disk},
      "label: gpt\nstart=2048, size=16384" + (type.empty() ? std::string() : ", type=" + type) + "\n");
  overwrite(disk, 1 * kMiB, content);
  return inspect_raw(disk, {}, keeper);
}

/// As in cryptsetup's "LUKS On-Disk Format Specification".
Bytes luks_header() {
  Bytes header(4096);
  std::ranges::copy(as_byte_view(std::string_view("LUKS\xba\xbe\0\1aes", 11)), header.begin());
  std::ranges::copy(as_byte_view("11111111-2222-3333-4444-555555555555"), header.begin() + 168);
  return header;
}

}  // namespace

TEST_CASE("every kind of opaque volume is named, with what is lost by it") {
  CHECK(contains(warning_of("crypto_LUKS"), "encrypted with LUKS"));
  CHECK(contains(warning_of("BitLocker"), "BitLocker"));
  CHECK(contains(warning_of("linux_raid_member"), "Linux RAID"));
  CHECK(contains(warning_of("isw_raid_member"), "RAID"));
  CHECK(contains(warning_of("zfs_member"), "ZFS"));
  CHECK(contains(warning_of("ceph_bluestore"), "Ceph"));
  CHECK(contains(warning_of("f2fs"), "f2fs, which vmpack does not read"));
  CHECK(contains(warning_of(""), "no known file system"));
  for (const std::string type : {"crypto_LUKS", "linux_raid_member", "f2fs", ""}) {
    CHECK(contains(warning_of(type), "stored bit for bit, but"));
    CHECK(contains(warning_of(type), "free space cannot be left out"));
    CHECK_FALSE(contains(warning_of(type), "\n"));
  }
}

TEST_CASE("nothing is said where nothing is lost") {
  for (const std::string type : {"swap", "bios-boot", "xfs", "btrfs", "LVM2_member"})
    CHECK(warning_of(type).empty());
  CHECK(warning_of("", "0x41").empty());
  CHECK(warning_of("", "e3c9e316-0b5c-4db8-817d-f92df00215ae").empty());
}

TEST_CASE("a partition with data that nobody knows costs a warning, and an empty one does not") {
  WarningKeeper keeper;
  SECTION("noise") {
    const Layout layout = inspect_partition(random_bytes(1, 100'000), keeper);
    REQUIRE(keeper.warnings.size() == 1);
    CHECK(contains(keeper.warnings.front(), "partition 1: no known file system"));
    CHECK(contains(layout.volumes.front().warning, "no known file system"));
  }
  SECTION("noise in a partition of a boot loader") {
    static_cast<void>(
        inspect_partition(random_bytes(1, 100'000), keeper, "21686148-6449-6E6F-744E-656564454649"));
    CHECK(keeper.warnings.empty());
  }
  SECTION("zeros that are written") {
    static_cast<void>(inspect_partition(Bytes(8 * kMiB), keeper));
    CHECK(keeper.warnings.empty());
  }
  SECTION("LUKS") {
    const Layout layout = inspect_partition(luks_header(), keeper);
    CHECK(layout.volumes.front().type == "crypto_LUKS");
    REQUIRE(keeper.warnings.size() == 1);
    CHECK(contains(keeper.warnings.front(), "partition 1: encrypted with LUKS"));
  }
}

TEST_CASE("a disk that nobody knows costs a warning, and an empty one does not") {
  const TempDir folder;
  WarningKeeper keeper;
  make_sparse_file(folder / "disk", 8 * kMiB);
  static_cast<void>(inspect_raw(folder / "disk", {}, keeper));
  CHECK(keeper.warnings.empty());
  overwrite(folder / "disk", 5 * kMiB, random_bytes(1, 10'000));
  static_cast<void>(inspect_raw(folder / "disk", {}, keeper));
  REQUIRE(keeper.warnings.size() == 1);
  CHECK(contains(keeper.warnings.front(), "the disk: no known partition table or file system"));
}

}  // namespace vmpack::test
