// SPDX-License-Identifier: Apache-2.0
// What is found on sound ext2, ext3 and ext4 file systems.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/memory_source.hpp"

namespace vmpack::test {
namespace {

struct Kind {
  const char* name;
  const char* type;
  std::vector<std::string> options;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"ext2", "ext2", {"-t", "ext2"}},
      {"ext2 with 1 KiB blocks", "ext2", {"-t", "ext2", "-b", "1024"}},
      {"ext3", "ext3", {"-t", "ext3"}},
      {"ext4", "ext4", {"-t", "ext4"}},
      {"ext4 with 1 KiB blocks", "ext4", {"-t", "ext4", "-b", "1024"}},
      {"ext4 without checksums", "ext4", {"-t", "ext4", "-O", "^metadata_csum,^64bit"}},
      {"ext4 without extents",
       "ext4",
       {"-t", "ext4", "-O", "^extent,^64bit,^metadata_csum,huge_file,^uninit_bg"}},
      {"ext4 with data in inodes", "ext4", {"-t", "ext4", "-O", "inline_data"}},
      {"ext4 in clusters", "ext4", {"-t", "ext4", "-O", "bigalloc", "-C", "16384"}},
      {"ext4 with small groups", "ext4", {"-t", "ext4", "-b", "1024", "-g", "1024", "-O", "^flex_bg"}},
      {"ext4 with 64 KiB blocks", "ext4", {"-t", "ext4", "-b", "65536"}},
      {"ext4 with groups in groups", "ext4", {"-t", "ext4", "-O", "meta_bg,^resize_inode"}},
  };
  return all;
}

constexpr std::uint64_t kVolumeBytes = 64 * kMiB;

struct Sample {
  TempDir folder;
  std::map<std::string, Bytes> contents;
  std::string image = folder / "image";

  explicit Sample(const std::vector<std::string>& options) {
    std::filesystem::create_directory(folder / "tree");
    contents = fill_tree(folder / "tree");
    make_file_system(image, folder / "tree", kVolumeBytes, options);
  }
};

/// A number that dumpe2fs prints.
std::uint64_t dumped(const std::string& image, const std::string& name) {
  std::istringstream lines(run({"dumpe2fs", "-h", image}));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1));
  }
  FAIL("dumpe2fs does not say: " << name);
  return 0;
}

}  // namespace

TEST_CASE("the bytes at a file's extents are the file, and free space is free, on every kind of ext") {
  for (const Kind& kind : kinds()) {
    DYNAMIC_SECTION(kind.name) {
      const Sample sample(kind.options);
      const Layout layout = inspect_raw(sample.image);
      CHECK(layout.table.empty());
      REQUIRE(layout.volumes.size() == 1);
      const Volume& volume = layout.volumes.front();
      CHECK(volume.warning.empty());
      REQUIRE(volume.inspected);
      CHECK_FALSE(volume.dirty);
      CHECK(volume.number == 0);
      CHECK(volume.type == kind.type);
      CHECK(volume.label == "sample");
      CHECK(volume.uuid.size() == 36);
      CHECK(volume.block_bytes == dumped(sample.image, "Block size"));
      CHECK(volume.range == ByteRange{0, kVolumeBytes});

      const bool may_be_inline = std::string_view(kind.name).find("inodes") != std::string_view::npos;
      for (const auto& [path, content] : sample.contents) {
        INFO(path);
        const FileEntry* entry = find_file(volume, path);
        REQUIRE(entry != nullptr);
        CHECK(entry->type == FileType::kRegular);
        REQUIRE(entry->size == content.size());
        if (may_be_inline && entry->extents.empty()) continue;
        CHECK(content_of(sample.image, *entry) == content);
        for (const FileExtent& extent : entry->extents) CHECK_FALSE(lies_in(volume.free, extent));
      }
      CHECK(total(volume.free) == dumped(sample.image, "Free blocks") * volume.block_bytes);
    }
  }
}

TEST_CASE("every path is there, in order of bytes, with its attributes") {
  const Sample sample({"-t", "ext4"});
  const Volume volume = inspect_raw(sample.image).volumes.front();

  std::vector<std::string> expected{"/",           "/a",          "/a/deep",    "/a/deep/er",  "/many",
                                    "/lost+found", "/short-link", "/long-link", "/z-hard-link"};
  for (const auto& [path, content] : sample.contents) expected.push_back(path);
  std::ranges::sort(expected);
  std::vector<std::string> found;
  for (const FileEntry& entry : volume.files) found.push_back(entry.path);
  CHECK(found == expected);

  const FileEntry* file = find_file(volume, "/a.b");
  REQUIRE(file != nullptr);
  CHECK(file->mode == 04711);
  CHECK(file->modified_ns == 1'000'000'001'000'000'000 + (file->modified_ns % 1'000'000'000));
  CHECK(file->inode > 10);
  CHECK(find_file(volume, "/a")->type == FileType::kDirectory);
  CHECK(find_file(volume, "/a")->extents.empty());
  CHECK(find_file(volume, "/short-link")->type == FileType::kSymlink);
  CHECK(find_file(volume, "/short-link")->target == "a/x");
  CHECK(find_file(volume, "/long-link")->target == std::string(100, 'l'));
}

TEST_CASE("the same is seen of an image whose bytes the parent hands out") {
  const Sample sample({"-t", "ext4"});
  const Volume of_file = inspect_raw(sample.image).volumes.front();
  MemorySource source(read_file(sample.image));
  NoProgress progress;
  const Volume of_memory = inspect(source, {}, progress).volumes.front();
  CHECK(of_memory.free == of_file.free);
  REQUIRE(of_memory.files.size() == of_file.files.size());
  for (std::size_t i = 0; i < of_file.files.size(); ++i) {
    CHECK(of_memory.files[i].path == of_file.files[i].path);
    CHECK(of_memory.files[i].size == of_file.files[i].size);
    CHECK(of_memory.files[i].extents.size() == of_file.files[i].extents.size());
  }
}

TEST_CASE("of several hard links only the first path carries extents") {
  const Sample sample({"-t", "ext4"});
  const Volume volume = inspect_raw(sample.image).volumes.front();
  const FileEntry* first = find_file(volume, "/a-b");
  const FileEntry* second = find_file(volume, "/z-hard-link");
  CHECK(first->inode == second->inode);
  CHECK_FALSE(first->extents.empty());
  CHECK(second->extents.empty());
  CHECK(second->size == first->size);
}

TEST_CASE("holes and preallocated blocks are no extents, and preallocated blocks are not free") {
  const Sample sample({"-t", "ext4"});
  const Volume before = inspect_raw(sample.image).volumes.front();
  const FileEntry* sparse = find_file(before, "/sparse");
  std::uint64_t mapped = 0;
  for (const FileExtent& extent : sparse->extents) mapped += extent.length;
  CHECK(mapped < 64 * kKiB);

  constexpr std::uint64_t kBlocks = 100;
  debugfs(sample.image, "fallocate /empty 0 99");
  debugfs(sample.image, fmt::format("set_inode_field /empty size {}", kBlocks * before.block_bytes));
  const Volume after = inspect_raw(sample.image).volumes.front();
  CHECK(find_file(after, "/empty")->size == kBlocks * after.block_bytes);
  CHECK(find_file(after, "/empty")->extents.empty());
  CHECK(total(after.free) == total(before.free) - kBlocks * after.block_bytes);
}

TEST_CASE("a file system that was not unmounted is dirty") {
  const Sample sample({"-t", "ext4"});
  SECTION("not marked clean") { debugfs(sample.image, "set_super_value state 0"); }
  SECTION("with errors") { debugfs(sample.image, "set_super_value state 3"); }
  SECTION("with a journal to replay") { debugfs(sample.image, "feature needs_recovery"); }
  const Volume volume = inspect_raw(sample.image).volumes.front();
  CHECK(volume.dirty);
  CHECK(volume.inspected);
}

TEST_CASE("what is no file system is one opaque volume without a warning") {
  const TempDir folder;
  make_sparse_file(folder / "image", 10 * kMiB);
  WarningKeeper keeper;
  const Layout layout = inspect_raw(folder / "image", {}, keeper);
  REQUIRE(layout.volumes.size() == 1);
  CHECK(layout.volumes.front().range == ByteRange{0, 10 * kMiB});
  CHECK_FALSE(layout.volumes.front().inspected);
  CHECK(layout.volumes.front().type.empty());
  CHECK(keeper.warnings.empty());
}

TEST_CASE("an image of a few sectors has a layout") {
  const TempDir folder;
  for (const std::uint64_t bytes :
       {std::uint64_t{512}, std::uint64_t{1024}, std::uint64_t{1536}, 64 * kKiB}) {
    make_sparse_file(folder / "image", bytes);
    CHECK(inspect_raw(folder / "image").volumes.size() == 1);
  }
}

}  // namespace vmpack::test
