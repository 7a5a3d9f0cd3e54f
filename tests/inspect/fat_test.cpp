// SPDX-License-Identifier: Apache-2.0
// What is found on FAT12, FAT16 and FAT32 file systems, sound and damaged. Made by dosfstools and mtools.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

struct Kind {
  const char* name;
  std::uint64_t bytes;
  std::vector<std::string> options;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"FAT12", 8 * kMiB, {"-F", "12"}},
      {"FAT12 with one table", 6 * kMiB, {"-F", "12", "-f", "1"}},
      {"FAT16", 32 * kMiB, {"-F", "16"}},
      {"FAT16 with clusters of 64 KiB", 300 * kMiB, {"-F", "16", "-s", "128"}},
      {"FAT32", 64 * kMiB, {"-F", "32"}},
      {"FAT32 with sectors of 4 KiB", 300 * kMiB, {"-F", "32", "-S", "4096"}},
  };
  return all;
}

/// A file system with folders, names and pieces of all kinds; files were deleted from it.
struct Sample {
  TempDir folder;
  std::string image = folder / "image";
  std::map<std::string, Bytes> contents;  ///< by path

  explicit Sample(const Kind& kind) {
    make_sparse_file(image, kind.bytes);
    std::vector<std::string> make{"mkfs.fat", "-n", "SAMPLE", "-i", "1234abcd"};
    make.insert(make.end(), kind.options.begin(), kind.options.end());
    make.push_back(image);
    run(make);
    fill();
  }

  void fill() {
    for (const char* path :
         {"/deep", "/deep/er", "/deep/er/Folder With Spaces", "/many", "/\u00c4\u00d6\u00dc"}) {
      run({"mmd", "-i", image, std::string("::") + path});
    }
    put("/x", 1);
    put("/lower.txt", 511);
    put("/UPPER.TXT", 512);
    put("/MiXed.Txt", 513);
    put("/empty", 0);
    put("/deep/er/Folder With Spaces/large file", 1 * kMiB + 5);
    put("/\u00c4\u00d6\u00dc/na\u00efve \u65e5\u672c\u8a9e.txt", 5000);
    put("/" + std::string(255, 'l'), 3000);
    put("/many/name of thirteen", 70'000);
    // As many as the folder needs several clusters for, and then room between files for the next to lie in.
    std::vector<std::string> names;
    for (int i = 0; i < 300; ++i) names.push_back(fmt::format("/many/{:03}", i));
    put_all(names, 10);
    remove_every_other(names);
    names.clear();
    for (int i = 0; i < 20; ++i) names.push_back(fmt::format("/hole {}", i));
    put_all(names, 40'000);
    remove_every_other(names);
    // Where mtools would go on, were it not for this: FSInfo's hint, on FAT32.
    if (boot(22, 2) == 0) overwrite(image, boot(48, 2) * boot(11, 2) + 492, struct_bytes(std::uint32_t{2}));
    put("/in pieces", 1'000'000);
    remove({"/x"});
  }

  void put(const std::string& path, std::size_t count) {
    contents[path] = random_bytes(contents.size(), count);
    write_file(folder / "one", contents.at(path));
    run({"mcopy", "-i", image, folder / "one", "::" + path});
  }
  /// Of one folder.
  void put_all(const std::vector<std::string>& paths, std::size_t count) {
    const std::filesystem::path parent = std::filesystem::path(paths.front()).parent_path();
    std::filesystem::remove_all(folder / "many");
    std::filesystem::create_directory(folder / "many");
    std::vector<std::string> command{"mcopy", "-i", image};
    for (const std::string& path : paths) {
      contents[path] = random_bytes(contents.size(), count);
      command.push_back(folder / "many/" + std::filesystem::path(path).filename().string());
      write_file(command.back(), contents.at(path));
    }
    command.push_back("::" + parent.string());
    run(command);
  }
  void remove(const std::vector<std::string>& paths) {
    std::vector<std::string> command{"mdel", "-i", image};
    for (const std::string& path : paths) {
      command.push_back("::" + path);
      contents.erase(path);
    }
    run(command);
  }
  void remove_every_other(const std::vector<std::string>& paths) {
    std::vector<std::string> removed;
    for (std::size_t i = 0; i < paths.size(); i += 2) removed.push_back(paths[i]);
    remove(removed);
  }

  /// Reads all files with mtools, and compares.
  void require_files_are_as_before() const {
    const std::string copies = folder / "copies";
    std::filesystem::remove_all(copies);
    std::filesystem::create_directory(copies);
    run({"mcopy", "-s", "-n", "-i", image, "::/", copies});
    for (const auto& [path, content] : contents) {
      INFO(path);
      CHECK((read_file(copies + path) == content));
    }
  }

  [[nodiscard]] std::uint64_t boot(std::uint64_t offset, std::size_t count) const {
    const Bytes sector = read_part(0, 512);
    std::uint64_t value = 0;
    std::memcpy(&value, sector.data() + offset, count);
    return value;
  }
  [[nodiscard]] Bytes read_part(std::uint64_t offset, std::size_t count) const {
    const auto file = FileDescriptor::open(image, O_RDONLY);
    Bytes part(count);
    REQUIRE(read_at(file.get(), part, offset, image) == count);
    return part;
  }
  [[nodiscard]] std::uint64_t table_offset() const { return boot(14, 2) * boot(11, 2); }
  [[nodiscard]] std::uint64_t table_bytes() const {
    return (boot(22, 2) != 0 ? boot(22, 2) : boot(36, 4)) * boot(11, 2);
  }
};

/// Free clusters, as fsck.fat counts them.
std::uint64_t free_clusters(const std::string& image) {
  const std::string said = run({"fsck.fat", "-n", "-v", image});
  const std::size_t slash = said.rfind('/');
  const std::size_t before = said.rfind(' ', slash);
  REQUIRE(slash != std::string::npos);
  return std::stoull(said.substr(slash + 1)) - std::stoull(said.substr(before + 1));
}

Volume inspect_one(const std::string& image) {
  Layout layout = inspect_raw(image);
  REQUIRE(layout.volumes.size() == 1);
  return std::move(layout.volumes.front());
}

const Kind& kind(std::string_view name) {
  return *std::ranges::find(kinds(), name, [](const Kind& each) { return std::string_view(each.name); });
}

}  // namespace

TEST_CASE("the bytes at a file's extents are the file, and free space is free, on every kind of FAT") {
  for (const Kind& each : kinds()) {
    DYNAMIC_SECTION(each.name) {
      const Sample sample(each);
      const Volume volume = inspect_one(sample.image);
      CHECK(volume.warning.empty());
      REQUIRE(volume.inspected);
      CHECK_FALSE(volume.dirty);
      CHECK(volume.type == "vfat");
      CHECK(volume.label == "SAMPLE");
      CHECK(volume.uuid == "1234-ABCD");
      CHECK(volume.block_bytes == sample.boot(11, 2) * sample.boot(13, 1));
      for (const auto& [path, content] : sample.contents) {
        INFO(path);
        const FileEntry* entry = find_file(volume, path);
        REQUIRE(entry != nullptr);
        CHECK(entry->type == FileType::kRegular);
        REQUIRE(entry->size == content.size());
        CHECK((content_of(sample.image, *entry) == content));
        for (const FileExtent& extent : entry->extents) CHECK_FALSE(lies_in(volume.free, extent));
      }
      CHECK(find_file(volume, "/in pieces")->extents.size() > 1);
      const auto is_file = [](const FileEntry& entry) { return entry.type == FileType::kRegular; };
      CHECK(std::ranges::count_if(volume.files, is_file) == std::ssize(sample.contents));
      CHECK(total(volume.free) == free_clusters(sample.image) * volume.block_bytes);
    }
  }
}

TEST_CASE("folders of FAT have their names, and every entry a number of its own") {
  const Sample sample(kind("FAT32"));
  const Volume volume = inspect_one(sample.image);
  for (const char* path :
       {"/", "/deep", "/deep/er", "/deep/er/Folder With Spaces", "/many", "/\u00c4\u00d6\u00dc"}) {
    INFO(path);
    const FileEntry* entry = find_file(volume, path);
    REQUIRE(entry != nullptr);
    CHECK(entry->type == FileType::kDirectory);
    CHECK(entry->extents.empty());
  }
  std::vector<std::uint64_t> inodes;
  for (const FileEntry& entry : volume.files) inodes.push_back(entry.inode);
  std::ranges::sort(inodes);
  CHECK(std::ranges::adjacent_find(inodes) == inodes.end());
}

TEST_CASE("FAT's times are taken for UTC") {
  Sample sample(kind("FAT16"));
  write_file(sample.folder / "dated", random_bytes(1, 10));
  const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, (sample.folder / "dated").c_str(), times, 0) == 0);
  run({"env", "TZ=UTC", "mcopy", "-m", "-i", sample.image, sample.folder / "dated", "::/dated"});
  CHECK(find_file(inspect_one(sample.image), "/dated")->modified_ns == 1'000'000'000'000'000'000);
}

TEST_CASE("what lies behind the end of a FAT directory is no file") {
  const Sample sample(kind("FAT16"));
  // The root directory ends after its first entries; what follows is what an unclean tool may leave.
  const std::uint64_t root = sample.table_offset() + sample.boot(16, 1) * sample.table_bytes();
  Bytes entries = sample.read_part(root, sample.boot(17, 2) * 32);
  std::size_t end = 0;
  while (entries[end] != std::byte{0}) end += 32;
  std::ranges::copy(as_byte_view("GHOST   TXT "), entries.begin() + static_cast<std::ptrdiff_t>(end) + 32);
  entries[end + 32 + 26] = std::byte{2};
  entries[end + 32 + 28] = std::byte{9};
  overwrite(sample.image, root, entries);
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.warning.empty());
  CHECK(find_file(volume, "/GHOST.TXT") == nullptr);
}

TEST_CASE("a FAT file system that was not unmounted is dirty") {
  const Sample small(kind("FAT16"));
  const Sample large(kind("FAT32"));
  const auto clear = [](const Sample& sample, std::uint64_t byte, std::byte bit) {
    for (std::uint64_t table = 0; table < 2; ++table) {
      const std::uint64_t at = sample.table_offset() + table * sample.table_bytes() + byte;
      overwrite(sample.image, at, Bytes{sample.read_part(at, 1)[0] & ~bit});
    }
  };
  SECTION("FAT16, by Windows") { clear(small, 3, std::byte{0x80}); }
  SECTION("FAT16, by Linux") { overwrite(small.image, 37, Bytes{std::byte{1}}); }
  SECTION("FAT16 with errors of the disk") { clear(small, 3, std::byte{0x40}); }
  SECTION("FAT32, by Windows") { clear(large, 7, std::byte{0x08}); }
  SECTION("FAT32, by Linux") { overwrite(large.image, 65, Bytes{std::byte{1}}); }
  const Volume first = inspect_one(small.image);
  const Volume second = inspect_one(large.image);
  CHECK(first.inspected);
  CHECK(second.inspected);
  CHECK(first.dirty != second.dirty);
}

TEST_CASE("FAT file systems without their free space are sound, and their files are as before") {
  for (const char* name : {"FAT12", "FAT16", "FAT32"}) {
    DYNAMIC_SECTION(name) {
      const Sample sample(kind(name));
      wipe_free_space(sample.image, inspect_one(sample.image));
      run({"fsck.fat", "-n", sample.image});
      sample.require_files_are_as_before();
    }
  }
}

TEST_CASE("tables of FAT that differ cost a warning, and no free space is claimed") {
  const Sample sample(kind("FAT32"));
  const std::uint64_t at = sample.table_offset() + sample.table_bytes() + 1000;
  overwrite(sample.image, at, Bytes{sample.read_part(at, 1)[0] ^ std::byte{1}});
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK(volume.free.empty());
  CHECK_FALSE(volume.warning.empty());
  CHECK((content_of(sample.image, *find_file(volume, "/UPPER.TXT")) == sample.contents.at("/UPPER.TXT")));
}

TEST_CASE("chains of FAT that loop or meet leave files without extents, with a warning") {
  const Sample sample(kind("FAT32"));
  const Volume before = inspect_one(sample.image);
  const auto cluster_of = [&](const char* path) {
    const std::uint64_t data = sample.table_offset() + 2 * sample.table_bytes();
    return (find_file(before, path)->extents.front().disk_offset - data) / before.block_bytes + 2;
  };
  const auto link = [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t table = 0; table < 2; ++table) {
      overwrite(sample.image, sample.table_offset() + table * sample.table_bytes() + from * 4,
                struct_bytes(static_cast<std::uint32_t>(to)));
    }
  };
  const std::uint64_t first = cluster_of("/in pieces");
  SECTION("into itself") { link(first, first); }
  SECTION("into another file") { link(first, cluster_of("/hole 1")); }
  SECTION("out of the volume") { link(first, 0x0fff'0000); }
  SECTION("into what is free") {
    const std::uint64_t data = sample.table_offset() + 2 * sample.table_bytes();
    link(first, (before.free.back().offset - data) / before.block_bytes + 2);
  }
  SECTION("the root directory") { link(sample.boot(44, 4), sample.boot(44, 4)); }
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK_FALSE(volume.warning.empty());
  for (const FileEntry& entry : volume.files) {
    for (const FileExtent& extent : entry.extents) CHECK_FALSE(lies_in(volume.free, extent));
  }
}

TEST_CASE("noise on a FAT file system never does harm") {
  for (const char* name : {"FAT12", "FAT16", "FAT32"}) {
    const Sample sample(kind(name));
    const Bytes sound = read_file(sample.image);
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      INFO(name << ", seed " << seed);
      Random random(seed);
      Bytes damaged(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(2 * kMiB));
      // Sometimes the boot sector, sometimes all behind it.
      const std::size_t from = seed % 3 == 0 ? 0 : 512;
      const std::size_t reach = seed % 3 == 0 ? 90 : damaged.size() - from;
      for (int i = 0; i < (seed % 3 == 0 ? 4 : 2000); ++i) {
        damaged[from + random.below(reach)] = static_cast<std::byte>(random.below(256));
      }
      overwrite(sample.image, 0, damaged);
      CHECK(inspect_raw(sample.image).volumes.size() >= 1);
    }
  }
}

TEST_CASE("a FAT file system that is cut off is read as far as it goes") {
  const Sample sample(kind("FAT32"));
  std::filesystem::resize_file(sample.image, 4 * kMiB);
  const Volume volume = inspect_one(sample.image);
  for (const FileEntry& entry : volume.files) {
    for (const FileExtent& extent : entry.extents) CHECK(extent.disk_offset + extent.length <= 4 * kMiB);
  }
}

}  // namespace vmpack::test
