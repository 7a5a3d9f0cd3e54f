// SPDX-License-Identifier: Apache-2.0
// What is found on NTFS file systems, sound and damaged. Made by ntfs-3g's tools; what these cannot do
// without a mount is tested where /dev/fuse can be used.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <thread>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 64 * kMiB;

/// A file system, and what was put into it.
struct Sample {
  TempDir folder;
  std::string image = folder / "image";
  std::map<std::string, Bytes> contents;  ///< of regular files, by path

  explicit Sample(const std::vector<std::string>& options = {}) {
    make_sparse_file(image, kVolumeBytes);
    std::vector<std::string> make{"mkntfs", "-q", "-F", "-f", "-L", "sample"};
    make.insert(make.end(), options.begin(), options.end());
    make.push_back(image);
    run(make);
  }

  /// Files in the root, of all sizes and names.
  void fill() {
    put("/x", 1);
    put("/resident", 500);
    put("/block", 4096);
    put("/block and one", 4097);
    put("/large", 3 * kMiB + 5);
    put("/empty", 0);
    put("/na\u00efve \u65e5\u672c\u8a9e \U0001f600.txt", 5000);
    put("/" + std::string(255, 'l'), 3000);
    std::string wide = "/";
    for (int i = 0; i < 255; ++i) wide += "\u65e5";
    put(wide, 3000);
    for (int i = 0; i < 20; ++i) put(fmt::format("/many {}", i), 2000);
  }

  void put(const std::string& path, std::size_t count) { put(path, random_bytes(contents.size(), count)); }
  void put(const std::string& path, Bytes content) {
    write_file(folder / "one", content);
    run({"ntfscp", "-q", image, folder / "one", path});
    contents[path] = std::move(content);
  }

  /// Does something to the mounted file system. False where it cannot be mounted.
  [[nodiscard]] bool mounted(const std::function<void(const std::string&)>& act,
                             const std::string& options = "no_detach") const {
    if (::access("/dev/fuse", R_OK | W_OK) != 0) {
      WARN("there is no /dev/fuse here: not all is tested");
      return false;
    }
    const std::string point = folder / "mounted";
    std::filesystem::create_directory(point);
    const auto device_of = [](const std::string& path) {
      struct stat facts{};
      return ::stat(path.c_str(), &facts) == 0 ? facts.st_dev : dev_t{0};
    };
    const dev_t before = device_of(point);
    const int process = start_command(
        {"sh", "-c", R"(exec ntfs-3g -o "$0" "$1" "$2" >/dev/null 2>&1)", options, image, point});
    for (int i = 0; i < 400 && device_of(point) == before; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    REQUIRE(device_of(point) != before);
    std::exception_ptr failed;
    try {
      act(point);
    } catch (...) {
      failed = std::current_exception();  // the mount must not outlive the test
    }
    run({"umount", point});
    wait_for(process);
    if (failed) std::rethrow_exception(failed);
    return true;
  }

  [[nodiscard]] Bytes read_part(std::uint64_t offset, std::size_t count) const {
    const auto file = FileDescriptor::open(image, O_RDONLY);
    Bytes part(count);
    REQUIRE(read_at(file.get(), part, offset, image) == count);
    return part;
  }
  template <typename T>
  [[nodiscard]] T value(std::uint64_t offset) const {
    return read_struct<T>(read_part(offset, sizeof(T)));
  }

  [[nodiscard]] std::uint64_t cluster_bytes() const {
    return value<std::uint16_t>(11) * value<std::uint8_t>(13);
  }
  /// Of a record in the master file table's first piece.
  [[nodiscard]] std::uint64_t record_offset(std::uint64_t number) const {
    return value<std::uint64_t>(48) * cluster_bytes() + number * 1024;
  }
  /// Of an attribute in a record.
  [[nodiscard]] std::uint64_t attribute_offset(std::uint64_t record, std::uint32_t type) const {
    std::uint64_t at = record_offset(record) + value<std::uint16_t>(record_offset(record) + 20);
    while (value<std::uint32_t>(at) != type) {
      REQUIRE(value<std::uint32_t>(at) != 0xffff'ffff);
      at += value<std::uint32_t>(at + 4);
    }
    return at;
  }
  /// Where the content of a file begins that is not resident.
  [[nodiscard]] std::uint64_t content_offset(std::uint64_t record) const {
    const std::uint64_t data = attribute_offset(record, 0x80);
    const std::uint64_t runs = data + value<std::uint16_t>(data + 32);
    const unsigned sizes = value<std::uint8_t>(runs);
    const std::uint64_t place = value<std::uint64_t>(runs + 1 + sizes % 16);
    return (place & ((std::uint64_t{1} << (8 * (sizes / 16))) - 1)) * cluster_bytes();
  }
};

Volume inspect_one(const std::string& image) {
  Layout layout = inspect_raw(image);
  REQUIRE(layout.volumes.size() == 1);
  return std::move(layout.volumes.front());
}

std::uint64_t free_clusters(const std::string& image) {
  const std::string said = run({"ntfsinfo", "-m", image});
  const std::string_view label = "Free Clusters: ";
  const std::size_t at = said.find(label);
  REQUIRE(at != std::string::npos);
  return std::stoull(said.substr(at + label.size()));
}

Bytes ntfscat(const std::string& image, const std::string& path) {
  const std::string text = run({"ntfscat", image, path});
  const ByteView bytes = as_byte_view(text);
  return {bytes.begin(), bytes.end()};
}

/// Every file of `sample` is in `volume` with its content, unless it is small enough to be resident.
void require_contents(const Sample& sample, const Volume& volume) {
  constexpr std::size_t kResidentBytesMax = 800;
  for (const auto& [path, content] : sample.contents) {
    INFO(path);
    const FileEntry* entry = find_file(volume, path);
    REQUIRE(entry != nullptr);
    CHECK(entry->type == FileType::kRegular);
    REQUIRE(entry->size == content.size());
    for (const FileExtent& extent : entry->extents) CHECK_FALSE(lies_in(volume.free, extent));
    if (content.size() <= kResidentBytesMax) {
      CHECK(entry->extents.empty());
    } else {
      CHECK((content_of(sample.image, *entry) == content));
    }
  }
  CHECK(total(volume.free) == free_clusters(sample.image) * volume.block_bytes);
}

void require_is_sound(const Sample& sample) {
  const std::string said = run({"ntfsfix", "-n", sample.image});
  CHECK(said.find("was processed successfully") != std::string::npos);
}

}  // namespace

TEST_CASE("the bytes at a file's extents are the file, and free space is free, on NTFS") {
  for (const char* cluster : {"512", "1024", "4096", "65536"}) {
    DYNAMIC_SECTION("with clusters of " << cluster) {
      Sample sample({"-c", cluster});
      sample.fill();
      const Volume volume = inspect_one(sample.image);
      CHECK(volume.warning.empty());
      REQUIRE(volume.inspected);
      CHECK_FALSE(volume.dirty);
      CHECK(volume.type == "ntfs");
      CHECK(volume.label == "sample");
      CHECK(volume.uuid.size() == 16);
      CHECK(std::to_string(volume.block_bytes) == cluster);
      require_contents(sample, volume);
      CHECK(volume.files.size() == sample.contents.size() + 1);  // and the root
      CHECK(volume.files.front().path == "/");
      for (const auto& [path, content] : sample.contents) CHECK((ntfscat(sample.image, path) == content));
    }
  }
}

TEST_CASE("NTFS with folders, links, deleted files and pieces is as it is when mounted") {
  Sample sample;
  sample.fill();
  const auto make_pieces = [&sample](const std::string& root) {
    const auto add = [&](const std::string& path, std::size_t count) {
      sample.contents[path] = random_bytes(count, count);
      write_file(root + path, sample.contents[path]);
    };
    std::filesystem::create_directories(root + "/deep/er/and er");
    add("/deep/er/and er/file", 10'000);
    add("/deep-file", 5000);
    std::filesystem::create_hard_link(root + "/large", root + "/deep/another name");
    // A folder of several index blocks, of which half is deleted; what follows lies in the holes.
    std::filesystem::create_directory(root + "/many");
    for (int i = 0; i < 1000; ++i) write_file(fmt::format("{}/many/file {}", root, i), random_bytes(1, 9000));
    for (int i = 0; i < 1000; i += 2) std::filesystem::remove(fmt::format("{}/many/file {}", root, i));
    for (int i = 1; i < 1000; i += 2)
      sample.contents[fmt::format("/many/file {}", i)] = random_bytes(1, 9000);
    std::filesystem::create_directory(root + "/gone");
    write_file(root + "/gone/with it", random_bytes(3, 50'000));
    std::filesystem::remove_all(root + "/gone");
    const std::uint64_t left = std::filesystem::space(root).available;
    add("/in pieces", left - 1 * kMiB);
    const Bytes island = random_bytes(5, 10'000);
    make_sparse_file(root + "/sparse", 4 * kMiB);
    overwrite(root + "/sparse", 1'000'000, island);
    sample.contents["/sparse"] = Bytes(4 * kMiB);
    std::ranges::copy(island, sample.contents["/sparse"].begin() + 1'000'000);
  };
  if (!sample.mounted(make_pieces)) return;
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.warning.empty());
  CHECK_FALSE(volume.dirty);
  // The first path of a file in order has the extents.
  CHECK(find_file(volume, "/deep/another name")->inode == find_file(volume, "/large")->inode);
  CHECK(find_file(volume, "/large")->extents.empty());
  sample.contents["/deep/another name"] = sample.contents["/large"];
  sample.contents.erase("/large");
  require_contents(sample, volume);
  CHECK(find_file(volume, "/in pieces")->extents.size() > 400);
  CHECK(find_file(volume, "/gone") == nullptr);
  CHECK(find_file(volume, "/many/file 0") == nullptr);
  std::uint64_t mapped = 0;
  for (const FileExtent& extent : find_file(volume, "/sparse")->extents) mapped += extent.length;
  CHECK(mapped < 200 * kKiB);
  CHECK(find_file(volume, "/deep")->type == FileType::kDirectory);
  // Folders, the root and the second name.
  CHECK(volume.files.size() == sample.contents.size() + 6);
}

TEST_CASE("what NTFS compresses has no extents, and a named stream is no part of its file") {
  Sample sample;
  sample.fill();
  const auto compress = [&sample](const std::string& root) {
    std::filesystem::create_directory(root + "/packed");
    // What is put into this folder is compressed: FILE_ATTRIBUTE_COMPRESSED, big-endian.
    const std::string compressed("\x00\x00\x08\x00", 4);
    REQUIRE(::setxattr((root + "/packed").c_str(), "system.ntfs_attrib_be", compressed.data(),
                       compressed.size(), 0) == 0);
    Bytes text;
    for (int i = 0; i < 50'000; ++i) append(text, as_byte_view("the same again "));
    write_file(root + "/packed/text", text);
  };
  if (!sample.mounted(compress, "no_detach,compression")) return;
  run({"ntfscp", "-q", "-N", "stream", sample.image, sample.folder / "one", "/large"});
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.warning.empty());
  REQUIRE(find_file(volume, "/packed/text") != nullptr);
  CHECK(find_file(volume, "/packed/text")->size == 750'000);
  CHECK(find_file(volume, "/packed/text")->extents.empty());
  require_contents(sample, volume);
}

TEST_CASE("NTFS without its free space is sound, and its files are as before") {
  Sample sample;
  sample.fill();
  wipe_free_space(sample.image, inspect_one(sample.image));
  require_is_sound(sample);
  for (const auto& [path, content] : sample.contents) CHECK((ntfscat(sample.image, path) == content));
}

TEST_CASE("NTFS that was not unmounted is dirty") {
  Sample sample;
  sample.put("/large", 1 * kMiB);
  const auto log = [&sample](std::uint64_t page, std::uint64_t sequence, std::uint16_t client,
                             std::uint16_t flags) {
    constexpr std::uint16_t kAreaAt = 48;
    Bytes restart(512);
    std::ranges::copy(as_byte_view("RSTR"), restart.begin());
    std::memcpy(restart.data() + 24, &kAreaAt, 2);
    std::memcpy(restart.data() + kAreaAt, &sequence, 8);
    std::memcpy(restart.data() + kAreaAt + 12, &client, 2);
    std::memcpy(restart.data() + kAreaAt + 14, &flags, 2);
    overwrite(sample.image, sample.content_offset(2) + page * 4096, restart);
  };
  bool expected = true;
  SECTION("marked by Windows") {
    const std::uint64_t info = sample.attribute_offset(3, 0x70);
    const std::uint64_t flags_at = info + sample.value<std::uint16_t>(info + 20) + 10;
    overwrite(sample.image, flags_at, struct_bytes(std::uint16_t{1}));
  }
  SECTION("with a log to replay") {
    log(0, 1000, 0, 2);
    log(1, 2000, 0, 0);
  }
  SECTION("with a log that was closed") {
    log(0, 1000, 0, 0);
    log(1, 2000, 0, 2);
    expected = false;
  }
  SECTION("with a log that nobody uses") {
    log(0, 1000, 0xffff, 0);
    expected = false;
  }
  SECTION("with a damaged log") { overwrite(sample.image, sample.content_offset(2), Bytes(64 * kKiB)); }
  SECTION("with a sleeping Windows") {
    Bytes memory = random_bytes(1, 100'000);
    std::ranges::copy(as_byte_view("hibr"), memory.begin());
    sample.put("/hiberfil.sys", memory);
  }
  SECTION("with a sleeping Windows, shouted") {
    Bytes memory = random_bytes(1, 100'000);
    std::ranges::copy(as_byte_view("HIBR"), memory.begin());
    sample.put("/HiberFil.Sys", memory);
  }
  SECTION("with a Windows that woke up") {
    Bytes memory = random_bytes(1, 100'000);
    std::ranges::copy(as_byte_view("wake"), memory.begin());
    sample.put("/hiberfil.sys", memory);
    expected = false;
  }
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK(volume.dirty == expected);
  CHECK(find_file(volume, "/large") != nullptr);
}

TEST_CASE("the free space of NTFS is not free where shadow copies lie in it") {
  Sample sample;
  sample.put("/large", 1 * kMiB);
  sample.put("/{3808876b-c176-4e48-b7ae-04046e6cc752}", 5000);  // their list, which may be empty
  CHECK_FALSE(inspect_one(sample.image).free.empty());
  sample.put("/{0E7B1C5A-8F0D-11EF-9B2A-525400123456}{3808876B-C176-4E48-B7AE-04046E6CC752}", 5000);
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK(volume.free.empty());
  CHECK_FALSE(volume.warning.empty());
}

TEST_CASE("a damaged map of NTFS's free space is not believed") {
  Sample sample;
  sample.put("/large", 1 * kMiB);
  overwrite(sample.image, sample.content_offset(6), Bytes(kVolumeBytes / 4096 / 8));
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK(volume.free.empty());
  CHECK_FALSE(volume.warning.empty());
  CHECK((content_of(sample.image, *find_file(volume, "/large")) == sample.contents.at("/large")));
}

TEST_CASE("a damaged record of NTFS costs its file and a warning") {
  Sample sample;
  sample.fill();
  const Volume before = inspect_one(sample.image);
  const FileEntry& file = *find_file(before, "/large");
  // The last bytes of each sector show whether all of a record was written.
  overwrite(sample.image, sample.record_offset(file.inode) + 510, struct_bytes(std::uint16_t{0x1234}));
  const Volume volume = inspect_one(sample.image);
  CHECK(volume.inspected);
  CHECK(find_file(volume, "/large") == nullptr);
  CHECK_FALSE(volume.warning.empty());
  CHECK(total(volume.free) == total(before.free));
  CHECK(volume.files.size() == before.files.size() - 1);
}

TEST_CASE("NTFS whose boot sector or first records are gone is opaque, with a warning") {
  Sample sample;
  sample.put("/large", 1 * kMiB);
  SECTION("clusters of no size") { overwrite(sample.image, 13, Bytes{std::byte{3}}); }
  SECTION("records somewhere else") { overwrite(sample.image, 48, struct_bytes(std::uint64_t{5})); }
  SECTION("the table of records") { overwrite(sample.image, sample.record_offset(0), Bytes(1024)); }
  SECTION("the volume's own record") { overwrite(sample.image, sample.record_offset(3), Bytes(1024)); }
  SECTION("the root directory") { overwrite(sample.image, sample.record_offset(5), Bytes(1024)); }
  const Volume volume = inspect_one(sample.image);
  CHECK_FALSE(volume.inspected);
  CHECK(volume.files.empty());
  CHECK(volume.free.empty());
}

TEST_CASE("noise on NTFS never does harm") {
  Sample sample;
  sample.fill();
  const Bytes sound = read_file(sample.image);
  const std::uint64_t table = sample.record_offset(0);
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    Bytes damaged(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(table + 256 * kKiB));
    // A few bytes of the boot sector, a few of the first records, or many of all others.
    const std::uint64_t from =
        std::array<std::uint64_t, 3>{0, table, table + 16 * std::uint64_t{1024}}[seed % 3];
    const std::uint64_t reach = std::array<std::uint64_t, 3>{90, 16 * kKiB, 90 * kKiB}[seed % 3];
    const int flips = std::array<int, 3>{3, 30, 2000}[seed % 3];
    for (int i = 0; i < flips; ++i) {
      damaged[from + random.below(reach)] = static_cast<std::byte>(random.below(256));
    }
    overwrite(sample.image, 0, damaged);
    const auto start = std::chrono::steady_clock::now();
    CHECK(inspect_raw(sample.image).volumes.size() >= 1);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
  }
}

TEST_CASE("NTFS that is cut off is read as far as it goes") {
  Sample sample;
  sample.fill();
  std::filesystem::resize_file(sample.image, 24 * kMiB);
  for (const Volume& volume : inspect_raw(sample.image).volumes) {
    for (const FileEntry& entry : volume.files) {
      for (const FileExtent& extent : entry.extents) CHECK(extent.disk_offset + extent.length <= 24 * kMiB);
    }
  }
}

}  // namespace vmpack::test
