// SPDX-License-Identifier: Apache-2.0
// File systems damaged on purpose: the layout stays sane, there is a warning, and it does not take long.
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kSuperblock = 1024;
constexpr std::uint64_t kBlockBytes = 4096;

struct Sample {
  TempDir folder;
  std::string image = folder / "image";

  explicit Sample(const std::vector<std::string>& options = {"-t", "ext4", "-b", "4096"}) {
    std::filesystem::create_directory(folder / "tree");
    fill_tree(folder / "tree");
    make_file_system(image, folder / "tree", 24 * kMiB, options);
  }
  void overwrite(std::uint64_t offset, ByteView bytes) const { test::overwrite(image, offset, bytes); }
  template <typename T>
  void overwrite_value(std::uint64_t offset, T value) const {
    overwrite(offset, struct_bytes(value));
  }
  /// Where the content of a file begins.
  [[nodiscard]] std::uint64_t offset_of(std::string_view path) const {
    const Volume volume = inspect_raw(image).volumes.front();
    const FileEntry* entry = find_file(volume, path);
    REQUIRE(entry != nullptr);
    REQUIRE_FALSE(entry->extents.empty());
    return entry->extents.front().disk_offset;
  }
};

/// Inspects within a time that nobody minds.
Volume inspect_soon(const std::string& image) {
  const auto start = std::chrono::steady_clock::now();
  Layout layout = inspect_raw(image);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
  REQUIRE(layout.volumes.size() == 1);
  return std::move(layout.volumes.front());
}

/// Nodes of an extent tree, as in the kernel's Documentation/filesystems/ext4/ifork.rst.
class ExtentNode {
 public:
  ExtentNode(std::uint16_t entries, std::uint16_t depth) {
    constexpr std::uint16_t kMagic = 0xf30a;
    constexpr std::uint16_t kEntriesMax = 340;
    for (const std::uint16_t value : {kMagic, entries, kEntriesMax, depth})
      append(bytes_, struct_bytes(value));
    append(bytes_, struct_bytes(std::uint32_t{0}));
  }
  ExtentNode& index(std::uint32_t logical, std::uint64_t child) {
    append(bytes_, struct_bytes(logical));
    append(bytes_, struct_bytes(static_cast<std::uint32_t>(child)));
    append(bytes_, struct_bytes(std::uint32_t{0}));
    return *this;
  }
  ExtentNode& leaf(std::uint32_t logical, std::uint16_t length, std::uint64_t physical) {
    append(bytes_, struct_bytes(logical));
    append(bytes_, struct_bytes(length));
    append(bytes_, struct_bytes(static_cast<std::uint16_t>(physical >> 32U)));
    append(bytes_, struct_bytes(static_cast<std::uint32_t>(physical)));
    return *this;
  }
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }
  /// Makes this the root of a file's tree.
  void put_into_inode(const std::string& image, const std::string& path) const {
    for (std::size_t i = 0; i * 4 < bytes_.size(); ++i) {
      const auto word = read_struct<std::uint32_t>(ByteView(bytes_).subspan(i * 4));
      debugfs(image, "set_inode_field " + path + " block[" + std::to_string(i) + "] " + std::to_string(word));
    }
  }

 private:
  Bytes bytes_;
};

}  // namespace

TEST_CASE("a superblock that is wiped out makes the volume opaque") {
  const Sample sample;
  sample.overwrite(kSuperblock, Bytes(1024));
  const Volume volume = inspect_soon(sample.image);
  CHECK_FALSE(volume.inspected);
  CHECK(volume.files.empty());
  CHECK(volume.free.empty());
}

TEST_CASE("a superblock full of noise behind its magic makes the volume opaque, with a warning") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Sample sample;
    Bytes noise = random_bytes(seed, 1024);
    const std::uint16_t magic = 0xef53;
    std::memcpy(noise.data() + 56, &magic, sizeof(magic));
    noise[96] &= ~std::byte{0x8};  // or else it is taken for a journal device, which is opaque by right
    sample.overwrite(kSuperblock, noise);
    const Volume volume = inspect_soon(sample.image);
    CHECK_FALSE(volume.inspected);
    CHECK_FALSE(volume.warning.empty());
  }
}

TEST_CASE("single superblock fields with wild values never do harm") {
  // blocks, log block size, blocks and inodes per group, inode size, first data block, descriptor size,
  // blocks (high)
  const std::vector<std::pair<std::uint64_t, std::uint32_t>> fields{
      {4, 0xffffffff},  {4, 1},   {24, 200}, {24, 6},  {32, 1},       {32, 0xfffffff8}, {40, 8},
      {40, 0xffffffff}, {88, 64}, {20, 9},   {254, 3}, {336, 0xffff}, {0, 0xffffffff},  {0, 1}};
  for (const auto& [offset, value] : fields) {
    const Sample sample({"-t", "ext4", "-O", "^metadata_csum,^uninit_bg"});
    sample.overwrite_value(kSuperblock + offset, value);
    INFO("at " << offset << ": " << value);
    CHECK_FALSE(inspect_soon(sample.image).warning.empty());
  }
}

TEST_CASE("a superblock with a wrong checksum is read, with a warning, and claims no free space") {
  const Sample sample;
  sample.overwrite_value(kSuperblock + 0x3fc, std::uint32_t{0x12345678});
  const Volume volume = inspect_soon(sample.image);
  CHECK_FALSE(volume.warning.empty());
  CHECK(volume.free.empty());
  CHECK(find_file(volume, "/a.b") != nullptr);
}

TEST_CASE("damaged group descriptors cost a warning, and no free space is claimed") {
  for (const auto& options : {std::vector<std::string>{"-t", "ext4", "-b", "4096"},
                              std::vector<std::string>{"-t", "ext2", "-b", "4096"}}) {
    for (const Bytes& damage : {Bytes(64), random_bytes(1, 4096)}) {
      const Sample sample(options);
      sample.overwrite(kBlockBytes, damage);
      const Volume volume = inspect_soon(sample.image);
      CHECK_FALSE(volume.warning.empty());
      CHECK(volume.free.empty());
    }
  }
}

TEST_CASE("a damaged bitmap is no free space") {
  const Sample sample;
  const std::string dump = run({"dumpe2fs", sample.image});
  const std::size_t at = dump.find("Block bitmap at ");
  REQUIRE(at != std::string::npos);
  const std::uint64_t block = std::stoull(dump.substr(at + 16));
  sample.overwrite(block * kBlockBytes, Bytes(kBlockBytes));
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK(volume.free.empty());
  CHECK_FALSE(volume.warning.empty());
  CHECK(content_of(sample.image, *find_file(volume, "/a-b")).size() == 4096);
}

TEST_CASE("an extent tree that contains itself ends") {
  const Sample sample;
  const std::uint64_t node_at = sample.offset_of("/a-b");
  const std::uint64_t node = node_at / kBlockBytes;
  SECTION("one node, its own only child") {
    sample.overwrite(node_at, ExtentNode(1, 4).index(0, node).bytes());
    ExtentNode(1, 5).index(0, node).put_into_inode(sample.image, "/a.b");
  }
  SECTION("a node that is its own child 340 times") {
    ExtentNode loop(340, 4);
    for (std::uint32_t i = 0; i < 340; ++i) loop.index(i, node);
    sample.overwrite(node_at, loop.bytes());
    ExtentNode(1, 5).index(0, node).put_into_inode(sample.image, "/a.b");
  }
  SECTION("a tree whose branches all share the same empty leaf") {
    ExtentNode loop(340, 1);
    for (std::uint32_t i = 0; i < 340; ++i) loop.index(i, node + 1);
    sample.overwrite(node_at, loop.bytes());
    ExtentNode(4, 2)
        .index(0, node)
        .index(400, node)
        .index(800, node)
        .index(1200, node)
        .put_into_inode(sample.image, "/a.b");
    sample.overwrite(node_at + kBlockBytes, ExtentNode(0, 0).bytes());
  }
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK_FALSE(volume.warning.empty());
  REQUIRE(find_file(volume, "/a.b") != nullptr);
  CHECK(find_file(volume, "/many/7")->extents.size() == 1);
}

TEST_CASE("extents with wild lengths and places are left out") {
  const Sample sample;
  SECTION("longer than the file system") {
    ExtentNode(1, 0).leaf(0, 32768, 20).put_into_inode(sample.image, "/a.b");
  }
  SECTION("behind its end") {
    ExtentNode(1, 0).leaf(0, 1, 0xffff'ffff'ffff).put_into_inode(sample.image, "/a.b");
  }
  SECTION("at block 0 of length 0") { ExtentNode(1, 0).leaf(0, 0, 0).put_into_inode(sample.image, "/a.b"); }
  SECTION("out of order") {
    ExtentNode(2, 0).leaf(1, 1, 5000).leaf(0, 1, 5001).put_into_inode(sample.image, "/a.b");
  }
  SECTION("more entries than room") {
    ExtentNode(0xffff, 0).leaf(0, 1, 5000).put_into_inode(sample.image, "/a.b");
  }
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK_FALSE(volume.warning.empty());
}

TEST_CASE("indirect blocks that point at themselves end") {
  const Sample sample({"-t", "ext2", "-b", "4096"});
  const std::uint64_t node_at = sample.offset_of("/a-b");
  const auto node = static_cast<std::uint32_t>(node_at / kBlockBytes);
  Bytes pointers;
  for (int i = 0; i < 1024; ++i) append(pointers, struct_bytes(node));
  sample.overwrite(node_at, pointers);
  debugfs(sample.image, "set_inode_field /a.b block[TIND] " + std::to_string(node));
  debugfs(sample.image, "set_inode_field /a.b size_high 1");
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK_FALSE(volume.warning.empty());
}

TEST_CASE("a directory that contains itself is entered once") {
  const Sample sample;
  debugfs(sample.image, "link /a /a/deep/loop");
  debugfs(sample.image, "link / /a/root");
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK_FALSE(volume.warning.empty());
  CHECK(find_file(volume, "/a/deep/loop") == nullptr);
  CHECK(find_file(volume, "/a/root") == nullptr);
  CHECK(find_file(volume, "/a/deep/er/large") != nullptr);
}

TEST_CASE("names that lead out of the tree or to no inode are left out") {
  const Sample sample;
  const std::string big = std::to_string(1'000'000'000);
  debugfs(sample.image, "link <" + big + "> /a/nowhere");
  debugfs(sample.image, "link <13> /a/..");
  const Volume volume = inspect_soon(sample.image);
  CHECK(volume.inspected);
  CHECK(find_file(volume, "/a/nowhere") == nullptr);
  CHECK(find_file(volume, "/a/x") != nullptr);
}

TEST_CASE("noise in the first megabytes never does harm") {
  constexpr int kRounds = 15;
  const Sample sample;
  const Bytes sound = read_file(sample.image);
  for (std::uint64_t seed = 0; seed < kRounds; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    Bytes damaged(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(8 * kMiB));
    // The superblock stays, so that the rest is reached.
    for (int i = 0; i < 2000; ++i) {
      damaged[2048 + random.below(damaged.size() - 2048)] = static_cast<std::byte>(random.below(256));
    }
    sample.overwrite(0, damaged);
    static_cast<void>(inspect_soon(sample.image));
  }
}

TEST_CASE("a file system that is cut off is read as far as it goes") {
  const Sample sample;
  std::filesystem::resize_file(sample.image, 8 * kMiB);
  const Volume volume = inspect_soon(sample.image);
  CHECK_FALSE(volume.warning.empty());
}

}  // namespace vmpack::test
