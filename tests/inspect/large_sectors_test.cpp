// SPDX-License-Identifier: Apache-2.0
// Disks with sectors of 4096 bytes: their partition tables count in those, and so do file systems made on
// them.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kLarge = 4096;
constexpr std::uint64_t kPartBytes = 32 * kMiB;
constexpr std::uint64_t kPartSectors = kPartBytes / kLarge;

/// A file, and file systems with sectors of 4096 bytes that it is in as "/file".
struct Parts {
  TempDir folder;
  Bytes content = random_bytes(11, 300'000);

  Parts() {
    std::filesystem::create_directory(folder / "tree");
    write_file(folder / "tree/file", content);
    make_file_system(folder / "ext4", folder / "tree", kPartBytes, {"-t", "ext4", "-b", "4096"});
    make_sparse_file(folder / "vfat", kPartBytes);
    run({"mkfs.fat", "-F", "16", "-S", "4096", "-s", "1", folder / "vfat"});
    run({"mcopy", "-i", folder / "vfat", folder / "tree/file", "::file"});
    make_sparse_file(folder / "ntfs", kPartBytes);
    run({"mkntfs", "-q", "-F", "-f", "-s", "4096", "-c", "4096", folder / "ntfs"});
    run({"ntfscp", "-q", "-f", folder / "ntfs", folder / "tree/file", "/file"});
    make_sparse_file(folder / "swap", kPartBytes);
    run({"mkswap", "-q", folder / "swap"});
  }

  void require_file(const std::string& disk, const Volume& volume, const std::string& type) const {
    INFO(type);
    CHECK(volume.type == type);
    REQUIRE(volume.inspected);
    CHECK(volume.warning.empty());
    const FileEntry* file = find_file(volume, "/file");
    REQUIRE(file != nullptr);
    CHECK(content_of(disk, *file) == content);
  }
};

/// An empty disk with a partition table that fdisk makes as it is told.
std::string make_disk(const TempDir& folder, std::uint64_t bytes, std::uint64_t sector_bytes,
                      const std::string& commands) {
  make_sparse_file(folder / "disk", bytes);
  run({"fdisk", "-b", std::to_string(sector_bytes), folder / "disk"}, commands);
  return folder / "disk";
}

std::string add_gpt_partition(std::uint64_t number, std::uint64_t first_sector) {
  return "n\n" + std::to_string(number) + "\n" + std::to_string(first_sector) + "\n" +
         std::to_string(first_sector + kPartSectors - 1) + "\n";
}

}  // namespace

TEST_CASE("every file system on a GPT disk with large sectors is found and read") {
  const Parts parts;
  const std::vector<std::string> types{"ext4", "vfat", "ntfs", "swap"};
  std::string commands = "g\n";
  for (std::uint64_t i = 0; i < types.size(); ++i) {
    commands += add_gpt_partition(i + 1, 256 + i * kPartSectors);
  }
  const std::string disk = make_disk(parts.folder, 160 * kMiB, kLarge, commands + "w\n");
  for (std::uint64_t i = 0; i < types.size(); ++i) {
    copy_into(disk, parts.folder / types[i], (256 + i * kPartSectors) * kLarge);
  }
  const auto check = [&] {
    const Layout layout = inspect_raw(disk);
    CHECK(layout.table == "gpt");
    REQUIRE(layout.volumes.size() == types.size());
    for (std::uint64_t i = 0; i < types.size(); ++i) {
      CHECK(layout.volumes[i].range == ByteRange{(256 + i * kPartSectors) * kLarge, kPartBytes});
    }
    for (std::uint64_t i = 0; i < 3; ++i) parts.require_file(disk, layout.volumes[i], types[i]);
    CHECK(layout.volumes[3].type == "swap");
  };
  check();
  // Its backup alone.
  overwrite(disk, kLarge, Bytes(kLarge));
  check();
}

TEST_CASE("a master boot record that counts in large sectors is told by the file systems it leads to") {
  const Parts parts;
  const std::string disk = make_disk(parts.folder, 512 * kMiB, kLarge,
                                     "o\nn\np\n1\n256\n8447\n"
                                     "n\ne\n2\n8448\n60000\n"
                                     "n\nl\n8704\n16895\nn\nl\n17152\n25343\nw\n");
  copy_into(disk, parts.folder / "ext4", 256 * kLarge);
  copy_into(disk, parts.folder / "vfat", 8704 * kLarge);
  copy_into(disk, parts.folder / "ntfs", 17152 * kLarge);
  const Layout layout = inspect_raw(disk);
  CHECK(layout.table == "mbr");
  REQUIRE(layout.volumes.size() == 3);
  CHECK(layout.volumes[0].range == ByteRange{256 * kLarge, kPartBytes});
  CHECK(layout.volumes[1].number == 5);
  CHECK(layout.volumes[1].range == ByteRange{8704 * kLarge, kPartBytes});
  CHECK(layout.volumes[2].number == 6);
  parts.require_file(disk, layout.volumes[0], "ext4");
  parts.require_file(disk, layout.volumes[1], "vfat");
  parts.require_file(disk, layout.volumes[2], "ntfs");
}

TEST_CASE("a master boot record counts in sectors of 512 bytes where nothing speaks for larger ones") {
  const Parts parts;
  const std::string disk =
      make_disk(parts.folder, 1 * kGiB, kSectorBytes, "o\nn\np\n1\n2048\n67583\nn\np\n2\n67584\n133119\nw\n");
  SECTION("nothing on it") {}
  SECTION("a file system in the first partition") {
    copy_into(disk, parts.folder / "ext4", 2048 * kSectorBytes);
  }
  SECTION("as many file systems either way") {
    copy_into(disk, parts.folder / "ext4", 2048 * kSectorBytes);
    copy_into(disk, parts.folder / "ext4", 67584 * kLarge);
  }
  const Layout layout = inspect_raw(disk);
  CHECK(layout.table == "mbr");
  REQUIRE(layout.volumes.size() == 2);
  CHECK(layout.volumes[0].range == ByteRange{2048 * kSectorBytes, kPartBytes});
  CHECK(layout.volumes[1].range == ByteRange{67584 * kSectorBytes, kPartBytes});
}

}  // namespace vmpack::test
