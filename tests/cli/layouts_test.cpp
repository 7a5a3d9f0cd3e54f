// SPDX-License-Identifier: Apache-2.0
// Whatever is on an image, sound or spoiled, and wherever it lies: it comes back identical. Inspection only
// says where to cut.
#include <fcntl.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kImageBytes = 16 * kMiB;
constexpr std::uint64_t kSuperblock = 1024;
constexpr std::uint64_t kSeeds = 12;

/// Puts noise behind the end of a file: to the end of its last sector, of its last block, or from the next
/// sector on.
void fill_slack(const std::string& image, const FilePlace& file, std::uint64_t block_bytes,
                std::uint64_t kind, std::uint64_t seed) {
  const std::uint64_t in_block = file.bytes % block_bytes;
  if (in_block == 0) return;
  const std::uint64_t end = file.blocks.back() * block_bytes + in_block;
  const std::uint64_t sector_end = round_up(end, kSectorBytes);
  const std::uint64_t block_end = round_up(end, block_bytes);
  const std::uint64_t from = kind == 2 ? sector_end : end;
  const std::uint64_t to = kind == 0 ? sector_end : block_end;
  overwrite(image, from, random_bytes(seed, to - from));
}

/// A file system whose files lie as they come to lie in the years: in pieces, with holes, with room set
/// aside, with rests of others behind their ends.
void make_random_layout(const std::string& image, std::uint64_t seed) {
  Random random(seed);
  const std::uint64_t block_bytes = std::uint64_t{1024} << random.below(3);
  const std::string type = std::vector<std::string>{"ext2", "ext3", "ext4", "ext4"}[random.below(4)];
  make_sample_image(image, kImageBytes, seed, {"-t", type, "-b", std::to_string(block_bytes)});
  const TempDir folder;
  std::vector<std::string> requests;
  // Every second small file makes room for the pieces of large ones.
  for (int i = 0; i < 60; i += 2) requests.push_back(fmt::format("rm /many/{}.conf", i));
  for (int i = 0; i < 3; ++i) {
    const std::string content = folder / std::to_string(i);
    write_file(content, random_bytes(random.next(), 100'000 + random.below(200'000)));
    requests.push_back(fmt::format("write {} /many/in-pieces-{}", content, i));
  }
  make_sparse_file(folder / "holes", 2 * kMiB);
  for (int i = 0; i < 5; ++i)
    overwrite(folder / "holes", random.below(2 * kMiB - 9000),
              random_bytes(random.next(), random.below(9000)));
  requests.push_back(fmt::format("write {} /many/holes", folder / "holes"));
  if (type == "ext4") {
    // Unwritten extents over what deleted files left behind, within the file's size and behind it.
    requests.emplace_back("fallocate /many/holes 100 120");
    requests.emplace_back("fallocate /many/1.conf 10 20");
    requests.emplace_back("fallocate /many/3.conf 0 30");
    requests.emplace_back("set_inode_field /many/3.conf size 12345");
  }
  debugfs(image, requests);
  std::vector<std::string> files;
  for (int i = 5; i < 60; i += 2) files.push_back(fmt::format("/many/{}.conf", i));
  for (const FilePlace& file : places_of(image, files)) {
    fill_slack(image, file, block_bytes, random.below(3), random.next());
  }
}

void spoil(const std::string& image, const std::string& path, const std::vector<std::uint32_t>& words) {
  std::vector<std::string> requests;
  for (std::size_t i = 0; i < words.size(); ++i) {
    requests.push_back(fmt::format("set_inode_field {} block[{}] {}", path, i, words[i]));
  }
  debugfs(image, requests);
}

/// An extent tree's node up to its entries, as in the kernel's Documentation/filesystems/ext4/ifork.rst.
std::vector<std::uint32_t> extent_header(std::uint32_t entries, std::uint32_t depth) {
  constexpr std::uint32_t kMagic = 0xf30a;
  return {kMagic | entries << 16U, 4U | depth << 16U, 0};
}

std::vector<std::uint32_t> operator+(std::vector<std::uint32_t> words,
                                     std::initializer_list<std::uint32_t> more) {
  words.insert(words.end(), more);
  return words;
}

}  // namespace

TEST_CASE("every kind of ext file system comes back identical") {
  const SampleRepository repository;
  const std::vector<std::vector<std::string>> kinds = {
      {"-t", "ext4", "-b", "1024"},
      {"-t", "ext4", "-b", "4096"},
      {"-t", "ext2", "-b", "1024"},
      {"-t", "ext3", "-b", "2048"},
      {"-t", "ext4", "-O", "inline_data"},
      {"-t", "ext4", "-O", "bigalloc", "-C", "16384"},
      {"-t", "ext4", "-O", "64bit,meta_bg,^resize_inode"},
      {"-t", "ext4", "-O", "^has_journal,^metadata_csum"},
      {"-t", "ext4", "-I", "128"},
  };
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const std::string image = repository / fmt::format("kind-{}", i);
    make_sample_image(image, kImageBytes, i, kinds[i]);
    INFO(fmt::format("{}", fmt::join(kinds[i], " ")));
    repository.require_round_trip(image, image);
    std::filesystem::remove(image);
  }
  repository.require_intact();
}

TEST_CASE("files in pieces, with holes, room set aside and noise behind their ends come back identical") {
  const SampleRepository repository;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const std::string image = repository / fmt::format("seed-{}", seed);
    make_random_layout(image, seed);
    repository.require_round_trip(image, image);
    std::filesystem::remove(image);
  }
  repository.require_intact();
}

TEST_CASE("two volumes in one disk come back, and are told apart") {
  const SampleRepository repository;
  const std::string image = repository / "disk";
  make_disk_with_two_volumes(image, 9);
  repository.require_round_trip(image, image);
  const OrderedJson layout =
      vmpack_json({"show", "trip:disk", "--repo", repository.path()}).at("manifest").at("layout");
  CHECK(layout.at("table") == "gpt");
  REQUIRE(layout.at("volumes").size() == 2);
  CHECK(layout.at("volumes")[0].at("type") == "ext4");
  CHECK(layout.at("volumes")[1].at("type") == "ext2");
  for (const OrderedJson& volume : layout.at("volumes")) {
    CHECK(volume.at("inspected") == true);
    CHECK(volume.at("file_count") > 60);
  }
}

TEST_CASE("a file system that is damaged comes back as damaged as it was") {
  const SampleRepository repository;
  const std::string sound = repository / "sound";
  make_sample_image(sound, kImageBytes, 5, {"-t", "ext4", "-b", "4096", "-O", "^metadata_csum"});
  const auto block = static_cast<std::uint32_t>(places_of(sound, {"/a/block"}).front().blocks.front());
  const std::uint64_t block_at = std::uint64_t{block} * 4096;
  const std::string file = "/a/deep/er/large";
  const auto superblock_field = [](std::uint64_t offset, std::uint32_t value) {
    return [=](const std::string& image) { overwrite(image, kSuperblock + offset, struct_bytes(value)); };
  };
  const auto noise = [](std::uint64_t offset, std::size_t count, std::uint64_t seed) {
    return [=](const std::string& image) { overwrite(image, offset, random_bytes(seed, count)); };
  };
  const auto inode = [&](std::vector<std::uint32_t> words) {
    return [&file, words](const std::string& image) { spoil(image, file, words); };
  };
  /// A node in a block that says it holds `entries` children, each itself.
  const auto node_loop = [&](const std::string& image) {
    Bytes node;
    for (const std::uint32_t word : {0xf30aU | 340U << 16U, 340U | 4U << 16U, 0U})
      append(node, struct_bytes(word));
    for (std::uint32_t i = 0; i < 340; ++i) {
      for (const std::uint32_t word : {i, block, 0U}) append(node, struct_bytes(word));
    }
    overwrite(image, block_at, node);
    spoil(image, file, extent_header(1, 5) + std::initializer_list<std::uint32_t>{0, block, 0});
  };
  using Words = std::initializer_list<std::uint32_t>;
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> ways = {
      {"superblock-zero", [](const std::string& image) { overwrite(image, kSuperblock, Bytes(1024)); }},
      {"superblock-noise", noise(kSuperblock, 1024, 1)},
      {"superblock-noise-behind-magic", noise(kSuperblock + 58, 900, 2)},
      {"superblock-blocks", superblock_field(4, 0xffffffff)},
      {"superblock-block-size", superblock_field(24, 6)},
      {"superblock-blocks-per-group", superblock_field(32, 1)},
      {"superblock-inodes-per-group", superblock_field(40, 0xfffffff8)},
      {"superblock-inode-size", superblock_field(88, 64)},
      {"superblock-descriptor-size", superblock_field(254, 3)},
      {"descriptors-zero", [](const std::string& image) { overwrite(image, 4096, Bytes(4096)); }},
      {"descriptors-noise", noise(4096, 4096, 3)},
      {"tree-loop", node_loop},
      {"tree-own-child",
       [&](const std::string& image) {
         Bytes node;
         for (const std::uint32_t word : {0xf30aU | 1U << 16U, 340U | 1U << 16U, 0U, 0U, block, 0U}) {
           append(node, struct_bytes(word));
         }
         overwrite(image, block_at, node);
         spoil(image, file, extent_header(1, 2) + Words{0, block, 0});
       }},
      {"extent-too-long", inode(extent_header(1, 0) + Words{0, 0x7fff, 20})},
      {"extent-behind-end", inode(extent_header(1, 0) + Words{0, 0xffff0001, 0xffffffff})},
      {"extent-length-zero", inode(extent_header(1, 0) + Words{0, 0, 0})},
      {"extents-overlapping",
       inode(extent_header(3, 0) + Words{0, 200, 1000, 100, 200, 1050, 300, 200, 1000})},
      {"extents-out-of-order", inode(extent_header(2, 0) + Words{100, 50, 2000, 0, 50, 1900})},
      {"extents-over-metadata", inode(extent_header(1, 0) + Words{0, 300, 0})},
      {"too-many-entries", inode(extent_header(0xffff, 0) + Words{0, 1, 500})},
      {"tree-too-deep", inode(extent_header(1, 0xffff) + Words{0, block, 0})},
      {"wild-size",
       [&](const std::string& image) {
         debugfs(image, {"set_inode_field " + file + " size 0x7fffffffffffffff"});
       }},
      {"directory-loop",
       [](const std::string& image) { debugfs(image, {"link /a /a/deep/loop", "link / /a/root"}); }},
  };
  for (const auto& [name, damage] : ways) {
    INFO(name);
    const std::string image = repository / name;
    std::filesystem::copy_file(sound, image);
    damage(image);
    REQUIRE(sha256_of(image) != sha256_of(sound));
    repository.require_round_trip(image, image);
    std::filesystem::remove(image);
  }
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const std::string image = repository / fmt::format("noise-{}", seed);
    std::filesystem::copy_file(sound, image);
    Random random(seed);
    const auto target = FileDescriptor::open(image, O_WRONLY);
    for (int i = 0; i < 1000; ++i) {
      write_at(target.get(), random_bytes(random.next(), 1 + random.below(8)), 2048 + random.below(4 * kMiB),
               image);
    }
    repository.require_round_trip(image, image);
    std::filesystem::remove(image);
  }
  repository.require_intact();
}

}  // namespace vmpack::test
