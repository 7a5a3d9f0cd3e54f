// SPDX-License-Identifier: Apache-2.0
// vmpack mount: the image as a file, for everything that reads files.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/small_file_system.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

bool is_mounted(const std::string& folder) {
  return run_command({"mountpoint", "-q", folder}).exit_code == 0;
}

bool becomes(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

/// A snapshot mounted in the background until destroyed.
class MountedImage {
 public:
  MountedImage(const SampleRepository& repository, const std::string& reference,
               const std::vector<std::string>& more = {})
      : folder_(repository / "mount") {
    fs::create_directories(folder_);
    std::vector<std::string> arguments{"mount", reference, folder_, "--repo", repository.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    facts_ = vmpack_json(arguments);
  }
  ~MountedImage() { wait_for(start_command({"fusermount3", "-u", "-z", folder_})); }
  MountedImage(const MountedImage&) = delete;
  MountedImage& operator=(const MountedImage&) = delete;

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::string image() const { return facts_.at("file"); }
  [[nodiscard]] const OrderedJson& facts() const { return facts_; }

 private:
  std::string folder_;
  OrderedJson facts_;
};

/// What lseek() calls data.
std::vector<ByteRange> data_ranges(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY);
  std::vector<ByteRange> ranges;
  for (off_t at = 0;;) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0) {
      CHECK(errno == ENXIO);
      return ranges;
    }
    at = ::lseek(file.get(), data, SEEK_HOLE);
    REQUIRE(at > data);
    ranges.push_back({static_cast<std::uint64_t>(data), static_cast<std::uint64_t>(at - data)});
  }
}

}  // namespace

// Everything below needs it: a machine without FUSE cannot tell whether mounting works.
TEST_CASE("this machine has FUSE") { REQUIRE(fs::exists("/dev/fuse")); }

TEST_CASE("a mounted snapshot is one read-only file with the image's bytes, size and holes") {
  const SampleRepository repository;
  const std::string raw = repository / "disk";
  make_mixed_disk(raw, 24 * kMiB + 512, 1);
  const OrderedJson packed = repository.ingest(raw, "a:1");
  const MountedImage mounted(repository, "a:1");
  CHECK(mounted.facts().at("snapshot") == packed.at("snapshot"));
  CHECK(mounted.facts().at("image_bytes") == 24 * kMiB + 512);
  CHECK(mounted.image() == fs::canonical(mounted.folder()).string() + "/disk.raw");
  CHECK(same_bytes(mounted.image(), raw));

  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(mounted.folder())) names.push_back(entry.path().filename());
  CHECK(names == std::vector<std::string>{"disk.raw"});
  CHECK_FALSE(fs::exists(mounted.folder() + "/other"));
  CHECK(fs::file_size(mounted.image()) == 24 * kMiB + 512);
  CHECK(::open(mounted.image().c_str(), O_RDWR) == -1);
  CHECK(::open((mounted.folder() + "/new").c_str(), O_WRONLY | O_CREAT, 0600) == -1);
  CHECK(::unlink(mounted.image().c_str()) == -1);

  const Bytes expected = read_file(raw);
  std::uint64_t data_bytes = 0;
  std::uint64_t behind = 0;
  for (const ByteRange& range : data_ranges(mounted.image())) {
    CHECK(is_zero(ByteView(expected).subspan(behind, range.offset - behind)));
    behind = range.end();
    data_bytes += range.length;
  }
  CHECK(is_zero(ByteView(expected).subspan(behind)));
  CHECK(data_bytes == allocated_bytes(mounted.image()));
  CHECK(data_bytes < 23 * kMiB);
}

TEST_CASE("a copy of a mounted snapshot is as sparse as it is") {
  const SampleRepository repository;
  make_sparse_file(repository / "disk", 4 * kGiB);
  overwrite(repository / "disk", 3 * kGiB, random_bytes(1, kMiB));
  repository.ingest(repository / "disk", "a:1");
  const MountedImage mounted(repository, "a:1");
  CHECK(data_ranges(mounted.image()) == std::vector<ByteRange>{{3 * kGiB, kMiB}});
  run_tool({"cp", "--sparse=auto", mounted.image(), repository / "copy"});
  CHECK(allocated_bytes(repository / "copy") <= 2 * kMiB);
  CHECK(same_bytes(repository / "copy", repository / "disk"));
}

TEST_CASE("a whole image of zeros has no data, and an empty one no byte") {
  const SampleRepository repository;
  for (const std::uint64_t size : {std::uint64_t{0}, 64 * kMiB}) {
    make_sparse_file(repository / "disk", size);
    repository.ingest(repository / "disk", "a:1", {"--force"});
    const MountedImage mounted(repository, "a:1");
    CHECK(fs::file_size(mounted.image()) == size);
    CHECK(data_ranges(mounted.image()).empty());
    CHECK(same_bytes(mounted.image(), repository / "disk"));
  }
}

TEST_CASE("many read a mounted snapshot at once, in any order") {
  const SampleRepository repository;
  make_mixed_disk(repository / "disk", 32 * kMiB, 2);
  repository.ingest(repository / "disk", "a:1");
  const MountedImage mounted(repository, "a:1", {"--cache", "64M"});
  const Bytes expected = read_file(repository / "disk");
  std::atomic<int> wrong{0};
  parallel_for(64, 8, [&](std::size_t i) {
    // Past the kernel's cache, so that every read is ours.
    const auto file = FileDescriptor::open(mounted.image(), O_RDONLY | O_DIRECT);
    Bytes buffer(kMiB + 4096);
    const std::size_t skip = -reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096;
    const ByteSpan into = ByteSpan(buffer).subspan(skip, 512 * kKiB);
    for (std::uint64_t k = 0; k < 16; ++k) {
      const std::uint64_t offset = (i * 37 + k * 11) % 64 * 512 * kKiB;
      if (read_at(file.get(), into, offset, mounted.image()) != into.size() ||
          !std::ranges::equal(into, ByteView(expected).subspan(offset, into.size()))) {
        ++wrong;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("QEMU takes a mounted snapshot as a disk and as the base of an overlay") {
  const SampleRepository repository;
  make_mixed_disk(repository / "disk", 8 * kMiB, 3);
  repository.ingest(repository / "disk", "a:1");
  const MountedImage mounted(repository, "a:1");
  for (const std::string cache : {"none", "writeback"}) {
    run_tool(
        {"qemu-img", "compare", "-T", cache, "-f", "raw", "-F", "raw", mounted.image(), repository / "disk"});
  }
  const std::string overlay = repository / "overlay.qcow2";
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", mounted.image(), overlay});
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 4k", overlay});
  overwrite(repository / "disk", kMiB, Bytes(4096, std::byte{7}));
  run_tool({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", overlay, repository / "disk"});
}

TEST_CASE("a file system in a mounted snapshot is sound, and its files are those that were packed") {
  const SampleRepository repository;
  const std::string tree = repository / "tree";
  fs::create_directory(tree);
  fill_tree(tree, 4);
  make_file_system(repository / "disk", tree, 32 * kMiB, {"-t", "ext4"});
  repository.ingest(repository / "disk", "a:1");
  const MountedImage mounted(repository, "a:1");
  run_or_throw({"e2fsck", "-fn", mounted.image()});
  if (!SmallFileSystem::possible()) {
    WARN("left out: loop devices take root");
    return;
  }
  const std::string files = repository / "files";
  const LoopDevice device(mounted.image(), {0, 32 * kMiB});
  const Mounted inside(device.path(), files, "ro");
  run_tool({"diff", "-r", "--no-dereference", "--exclude=lost+found", tree, files});
}

TEST_CASE("a mount stays what it was when its tag moves or goes") {
  const SampleRepository repository;
  make_mixed_disk(repository / "one", 4 * kMiB, 5);
  make_mixed_disk(repository / "two", 4 * kMiB, 6);
  repository.ingest(repository / "one", "a:1");
  const MountedImage mounted(repository, "a:1");
  repository.ingest(repository / "two", "a:1", {"--force"});
  vmpack_done({"untag", "a:1", "--repo", repository.path()});
  CHECK(same_bytes(mounted.image(), repository / "one"));
}

TEST_CASE("unmounting ends the server, and a signal ends both") {
  const SampleRepository repository;
  const std::string folder = repository / "mount";
  fs::create_directory(folder);
  make_mixed_disk(repository / "disk", kMiB, 7);
  repository.ingest(repository / "disk", "a:1");
  const std::vector<std::string> foreground{
      program("VMPACK"), "mount", "a:1", folder, "-f", "--quiet", "--repo", repository.path()};
  const int unmounted = start_command(foreground);
  REQUIRE(becomes([&] { return is_mounted(folder); }));
  CHECK(same_bytes(folder + "/disk.raw", repository / "disk"));
  run_tool({"fusermount3", "-u", folder});
  CHECK(wait_for(unmounted) == 0);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    const int server = start_command(foreground);
    REQUIRE(becomes([&] { return is_mounted(folder); }));
    ::kill(server, signal);
    CHECK(wait_for(server) == 0);
    CHECK_FALSE(is_mounted(folder));
  }
}

TEST_CASE("a damaged pack is an I/O error where it is needed, and nowhere else") {
  const SampleRepository repository;
  write_file(repository / "disk", random_bytes(8, 4 * kMiB));
  repository.ingest(repository / "disk", "a:1");
  std::string pack;
  for (const std::string& file : files_below(repository.path())) {
    if (file.starts_with("packs/") && (pack.empty() || fs::file_size(repository.path() + "/" + file) >
                                                           fs::file_size(repository.path() + "/" + pack))) {
      pack = file;
    }
  }
  overwrite(repository.path() + "/" + pack, 2 * kMiB, random_bytes(9, 512));
  const MountedImage mounted(repository, "a:1");
  const auto file = FileDescriptor::open(mounted.image(), O_RDONLY);
  const Bytes expected = read_file(repository / "disk");
  int failed = 0;
  for (std::uint64_t offset = 0; offset < 4 * kMiB; offset += 128 * kKiB) {
    Bytes bytes(128 * kKiB);
    const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0) CHECK(errno == EIO);
    const auto good = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    CHECK(std::ranges::equal(ByteView(bytes).first(good), ByteView(expected).subspan(offset, good)));
    if (good < bytes.size()) ++failed;
  }
  CHECK(failed > 0);
  CHECK(failed < 8);
}

TEST_CASE("a mount that cannot be made says why, in one line") {
  const SampleRepository repository;
  make_mixed_disk(repository / "disk", kMiB, 10);
  repository.ingest(repository / "disk", "a:1");
  const auto mount = [&](const std::string& reference, const std::string& folder,
                         const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"mount", reference, folder, "--repo", repository.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack(arguments);
  };
  require_one_line(mount("a:1", repository / "nowhere"), 1, {"nowhere"});
  require_one_line(mount("a:1", repository / "disk"), 2, {"not a folder"});
  require_one_line(mount("a:2", repository.folder()), 1, {"a:2"});
  require_one_line(mount("a:1", repository.folder(), {"--cache", "1M"}), 2, {"--cache", "64M"});
  require_one_line(mount("a:1", repository.folder(), {"--cache", "x"}), 2, {"x"});
  CHECK_FALSE(is_mounted(repository.folder()));
}

}  // namespace vmpack::test
