// SPDX-License-Identifier: Apache-2.0
// Partition tables, as sfdisk writes them.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"

namespace vmpack::test {
namespace {

/// A small ext4 file system with one file.
std::string make_part(const TempDir& folder, std::uint64_t bytes) {
  std::filesystem::create_directories(folder / "tree");
  fill_tree(folder / "tree");
  make_file_system(folder / "part", folder / "tree", bytes, {"-t", "ext4"});
  return folder / "part";
}

std::vector<std::uint32_t> numbers(const Layout& layout) {
  std::vector<std::uint32_t> found;
  for (const Volume& volume : layout.volumes) found.push_back(volume.number);
  return found;
}

}  // namespace

TEST_CASE("a GPT's partitions are volumes with their types, and files are found at image offsets") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 64 * kMiB);
  run({"sfdisk", "-q", disk},
      "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\n"
      "start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n"
      "start=4096, size=65536, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n"
      "start=69632, size=32768, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n");
  copy_into(disk, make_part(folder, 32 * kMiB), 4096 * kSectorBytes);
  make_sparse_file(folder / "swap", 16 * kMiB);
  run({"mkswap", "-q", "-L", "swap", folder / "swap"});
  copy_into(disk, folder / "swap", 69632 * kSectorBytes);

  const Layout layout = inspect_raw(disk);
  CHECK(layout.table == "gpt");
  CHECK(layout.disk_uuid == "11111111-2222-3333-4444-555555555555");
  REQUIRE(layout.volumes.size() == 3);
  const Volume& boot = layout.volumes[0];
  CHECK(boot.type == "bios-boot");
  CHECK(boot.range == ByteRange{1 * kMiB, 1 * kMiB});
  CHECK(boot.warning.empty());
  const Volume& root = layout.volumes[1];
  CHECK(root.number == 2);
  CHECK(root.type == "ext4");
  CHECK(root.partition_type == "0fc63daf-8483-4772-8e79-3d69d8477de4");
  REQUIRE(root.inspected);
  CHECK(content_of(disk, *find_file(root, "/a/x")).size() == 1);
  const Bytes large = content_of(disk, *find_file(root, "/a/deep/er/large"));
  CHECK(large == read_file(folder / "tree/a/deep/er/large"));
  const Volume& swap = layout.volumes[2];
  CHECK(swap.type == "swap");
  CHECK(swap.label == "swap");
  CHECK_FALSE(swap.inspected);
  CHECK(swap.warning.empty());
}

TEST_CASE("an MBR's logical partitions are volumes, and the extended one is not") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 128 * kMiB);
  run({"sfdisk", "-q", disk},
      "label: dos\nlabel-id: 0x12345678\n"
      "start=2048, size=20480, type=83, bootable\n"
      "start=22528, size=200000, type=5\n"
      "start=24576, size=20480, type=83\n"
      "start=47104, size=65536, type=83\n"
      "start=114688, size=20480, type=82\n");
  copy_into(disk, make_part(folder, 32 * kMiB), 47104 * kSectorBytes);

  const Layout layout = inspect_raw(disk);
  CHECK(layout.table == "mbr");
  CHECK(layout.disk_uuid == "12345678");
  CHECK(numbers(layout) == std::vector<std::uint32_t>{1, 5, 6, 7});
  CHECK(layout.volumes[0].partition_type == "0x83");
  CHECK(layout.volumes[3].partition_type == "0x82");
  CHECK(layout.volumes[2].range == ByteRange{47104 * kSectorBytes, 65536 * kSectorBytes});
  CHECK(layout.volumes[2].inspected);
}

TEST_CASE("a GPT of a disk with 4 KiB sectors is read") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 64 * kMiB);
  run({"fdisk", "-b", "4096", disk}, "g\nn\n1\n256\n8447\nw\n");
  copy_into(disk, make_part(folder, 32 * kMiB), 256 * 4096);
  const Layout layout = inspect_raw(disk);
  CHECK(layout.table == "gpt");
  REQUIRE(layout.volumes.size() == 1);
  CHECK(layout.volumes.front().range == ByteRange{256 * 4096, 8192 * 4096});
  CHECK(layout.volumes.front().inspected);

  const auto sectors_of = [](const std::string& path) {
    WarningKeeper warnings;
    return sector_bytes_of(*open_source(path, {.format = "raw", .backing_root = {}}, warnings));
  };
  CHECK(sectors_of(disk) == 4096);
  std::filesystem::resize_file(disk, 64 * kMiB + kSectorBytes);
  CHECK(sectors_of(disk) == kSectorBytes);
  std::filesystem::resize_file(disk, kSectorBytes);
  CHECK(sectors_of(disk) == kSectorBytes);
}

TEST_CASE("a GPT whose first copy is gone is read from its backup") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 64 * kMiB);
  run({"sfdisk", "-q", disk}, "label: gpt\nstart=2048, size=65536\n");
  make_sparse_file(folder / "zeros", 1024);
  copy_into(disk, folder / "zeros", 512);
  CHECK(numbers(inspect_raw(disk)) == std::vector<std::uint32_t>{1});
}

TEST_CASE("partitions that overlap or leave the image cost a warning and nothing else") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 64 * kMiB);
  WarningKeeper keeper;
  SECTION("behind the end") {
    run({"sfdisk", "-q", disk}, "label: dos\nstart=2048, size=20480\nstart=22528, size=65536\n");
    std::filesystem::resize_file(disk, 20 * kMiB);
    CHECK(numbers(inspect_raw(disk, {}, keeper)) == std::vector<std::uint32_t>{1, 2});
  }
  SECTION("wholly outside") {
    run({"sfdisk", "-q", disk}, "label: dos\nstart=2048, size=20480\nstart=65536, size=65536\n");
    std::filesystem::resize_file(disk, 20 * kMiB);
    CHECK(numbers(inspect_raw(disk, {}, keeper)) == std::vector<std::uint32_t>{1});
  }
  SECTION("overlapping") {
    run({"sfdisk", "-q", disk}, "label: dos\nstart=2048, size=20480\nstart=40960, size=20480\n");
    constexpr std::uint64_t kSecondEntryAt = 446 + 16;
    overwrite(disk, kSecondEntryAt + 8, struct_bytes(std::uint32_t{10240}));
    CHECK(numbers(inspect_raw(disk, {}, keeper)) == std::vector<std::uint32_t>{1});
  }
  CHECK(keeper.warnings.size() == 1);
}

TEST_CASE("a chain of logical partitions that loops ends") {
  const TempDir folder;
  const std::string disk = folder / "disk";
  make_sparse_file(disk, 64 * kMiB);
  run({"sfdisk", "-q", disk},
      "label: dos\nstart=2048, size=100000, type=5\nstart=4096, size=8192, type=83\n"
      "start=14336, size=8192, type=83\n");
  // The second boot record's second entry leads back to the second boot record.
  constexpr std::uint64_t kSecondRecord = 12288;
  constexpr std::uint64_t kExtended = 2048;
  Bytes entry(16);
  entry[4] = std::byte{5};
  const std::uint32_t place[2] = {kSecondRecord - kExtended, 8192};
  std::memcpy(entry.data() + 8, place, sizeof(place));
  overwrite(disk, kSecondRecord * kSectorBytes + 446 + 16, entry);
  CHECK(numbers(inspect_raw(disk)).size() <= 2);
}

}  // namespace vmpack::test
