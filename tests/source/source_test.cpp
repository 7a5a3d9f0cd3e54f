// SPDX-License-Identifier: Apache-2.0
// Every kind of image reads as its guest would see it; those that cannot be read say so.
#include "libvmpack/source/source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>

#include "libvmpack/base/limits.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::disk_bytes;
using test::error_of;
using test::open_error;
using test::open_image;
using test::read_file;
using test::read_image;
using test::run_tool;
using test::TempDir;
using test::write_sparse;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// A converted disk may be larger than the original (vpc rounds up to a geometry); the rest must be zeros.
void check_same(const Bytes& got, const Bytes& expected) {
  REQUIRE(got.size() >= expected.size());
  CHECK(std::equal(expected.begin(), expected.end(), got.begin()));
  CHECK(is_zero(ByteView(got).subspan(expected.size())));
}

TEST_CASE("a raw image reads as it is") {
  TempDir folder;
  const Bytes disk = disk_bytes(8 * kMiB, 1);
  write_sparse(folder / "disk.raw", disk);
  const auto source = open_image(folder / "disk.raw");
  CHECK(read_image(*source) == disk);
  CHECK(source->facts().format == "raw");
  CHECK(source->facts().location == folder / "disk.raw");
  CHECK(source->attachment().raw_path == fs::canonical(folder / "disk.raw"));
}

TEST_CASE("a raw image of any size reads as if zeros followed up to the next sector") {
  TempDir folder;
  for (const std::size_t size : {0, 1, 511, 512, 513, 4096, 100'000, 1'049'087}) {
    const Bytes disk = test::random_bytes(size, size);
    test::write_file(folder / "disk.raw", disk);
    const auto source = open_image(folder / "disk.raw");
    CHECK(source->size() == round_up(size, kSectorBytes));
    check_same(read_image(*source), disk);
  }
}

TEST_CASE("the holes of a raw image are not read") {
  TempDir folder;
  test::write_file(folder / "disk.raw", std::string_view());
  fs::resize_file(folder / "disk.raw", kTiB);
  {
    std::fstream file(folder / "disk.raw");
    file.seekp(static_cast<std::streamoff>(512 * kGiB));
    file << "data";
  }
  const auto source = open_image(folder / "disk.raw");
  const auto ranges = source->data_ranges(0, kTiB);
  REQUIRE(ranges.size() == 1);
  CHECK(ranges[0].offset == 512 * kGiB);
  CHECK(ranges[0].length == 4096);
  CHECK(source->data_ranges(512 * kGiB + 512, 1024) == std::vector<ByteRange>{{512 * kGiB + 512, 1024}});
  CHECK(source->data_ranges(0, 512 * kGiB).empty());
}

TEST_CASE("a raw image that is cut short while it is read is an error that says where") {
  TempDir folder;
  test::write_file(folder / "disk.raw", test::random_bytes(1, kMiB));
  const auto source = open_image(folder / "disk.raw");
  fs::resize_file(folder / "disk.raw", 100'000);
  Bytes bytes(kMiB);
  const Error error = error_of([&] { source->read(0, bytes); });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK(contains(error.what(), "byte 100000"));
}

TEST_CASE("a block device reads as a raw image") {
  TempDir folder;
  const Bytes disk = disk_bytes(4 * kMiB, 2);
  test::write_file(folder / "disk.raw", disk);
  const auto attached = test::run_command({"losetup", "--find", "--show", folder / "disk.raw"});
  if (attached.exit_code != 0) {
    WARN("no loop devices here: " << attached.err);
    return;
  }
  const std::string device = attached.out.substr(0, attached.out.find('\n'));
  {
    const auto source = open_image(device);
    CHECK(source->size() == disk.size());
    CHECK(read_image(*source) == disk);
  }
  run_tool({"losetup", "--detach", device});
}

TEST_CASE("images of every container format read as the disk they were made from") {
  struct Kind {
    std::string format;
    std::string name;
    std::vector<std::string> options;
  };
  const std::vector<Kind> kinds{
      {"qcow2", "plain.qcow2", {}},
      {"qcow2", "old.qcow2", {"-o", "compat=0.10"}},
      {"qcow2", "zstd.qcow2", {"-c", "-o", "compression_type=zstd"}},
      {"qcow2", "zlib.qcow2", {"-c"}},
      {"qcow2", "small-clusters.qcow2", {"-o", "cluster_size=512"}},
      {"qcow2", "subclusters.qcow2", {"-o", "extended_l2=on,cluster_size=128k"}},
      {"qcow2", "data-file.qcow2", {"-o", "data_file=data-file.bytes"}},
      {"qcow2", "raw-data-file.qcow2", {"-o", "data_file=raw-data-file.bytes,data_file_raw=on"}},
      {"vmdk", "sparse.vmdk", {}},
      {"vmdk", "flat.vmdk", {"-o", "subformat=monolithicFlat"}},
      {"vmdk", "split.vmdk", {"-o", "subformat=twoGbMaxExtentSparse"}},
      {"vmdk", "stream.vmdk", {"-o", "subformat=streamOptimized"}},
      {"vdi", "dynamic.vdi", {}},
      {"vdi", "static.vdi", {"-o", "static=on"}},
      {"vhdx", "dynamic.vhdx", {}},
      {"vpc", "dynamic.vhd", {}},
      {"vpc", "fixed.vhd", {"-o", "subformat=fixed"}},
      {"qed", "disk.qed", {}},
  };
  TempDir folder;
  // No multiple of 4 KiB, nor of any cluster.
  const Bytes disk = disk_bytes(9 * kMiB + 3 * kSectorBytes, 3);
  write_sparse(folder / "disk.raw", disk);
  for (const Kind& kind : kinds) {
    INFO(kind.name);
    std::vector<std::string> convert{"qemu-img", "convert", "-f", "raw", "-O", kind.format};
    convert.insert(convert.end(), kind.options.begin(), kind.options.end());
    convert.insert(convert.end(), {"disk.raw", kind.name});
    run_tool(convert, folder.path());
    const auto source = open_image(folder / kind.name);
    CHECK(source->facts().format == kind.format);
    check_same(read_image(*source), disk);
    CHECK_FALSE(source->attachment().nbd_socket.empty());
  }
}

TEST_CASE("a backing chain of three reads as its top, and names what is below") {
  TempDir folder;
  Bytes disk = disk_bytes(5 * kMiB + kSectorBytes, 4);
  write_sparse(folder / "disk.raw", disk);
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "disk.raw", "base.qcow2"},
           folder.path());
  run_tool({"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", "middle.qcow2"},
           folder.path());
  run_tool({"qemu-io", "-c", "write -P 7 100k 70k", "middle.qcow2"}, folder.path());
  run_tool({"qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", folder / "middle.qcow2", "top.qcow2"},
           folder.path());
  run_tool({"qemu-io", "-c", "write -P 9 150k 1k", "-c", "write -z 1M 1M", "top.qcow2"}, folder.path());
  std::fill_n(disk.begin() + 100 * kKiB, 70 * kKiB, std::byte{7});
  std::fill_n(disk.begin() + 150 * kKiB, 1 * kKiB, std::byte{9});
  std::fill_n(disk.begin() + 1 * kMiB, 1 * kMiB, std::byte{0});
  const auto source = open_image(folder / "top.qcow2");
  CHECK(read_image(*source) == disk);
  const fs::path real = fs::canonical(folder.path());
  CHECK(source->facts().backing_chain ==
        std::vector<std::string>{real / "middle.qcow2", real / "base.qcow2"});
}

TEST_CASE("an overlay on a raw image reads through it, with and without its format in the header") {
  TempDir folder;
  Bytes disk = disk_bytes(3 * kMiB, 5);
  write_sparse(folder / "base.raw", disk);
  run_tool({"qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "base.raw", "top.qcow2"}, folder.path());
  run_tool({"qemu-io", "-c", "write -P 7 0 1k", "top.qcow2"}, folder.path());
  std::fill_n(disk.begin(), kKiB, std::byte{7});
  CHECK(read_image(*open_image(folder / "top.qcow2")) == disk);
  test::forget_backing_format(folder / "top.qcow2");
  CHECK(read_image(*open_image(folder / "top.qcow2")) == disk);
}

TEST_CASE("one tebibyte of zeros is known to be that in half a second") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", "empty.qcow2", "1T"}, folder.path());
  const auto source = open_image(folder / "empty.qcow2");
  const auto start = std::chrono::steady_clock::now();
  CHECK(source->data_ranges(0, source->size()).empty());
  CHECK(std::chrono::steady_clock::now() - start < 500ms);
}

TEST_CASE("a container image reads at odd offsets, and from many threads at once") {
  TempDir folder;
  const Bytes disk = disk_bytes(8 * kMiB + kSectorBytes, 6);
  write_sparse(folder / "disk.raw", disk);
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"}, folder.path());
  const auto source = open_image(folder / "disk.qcow2");
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    threads.emplace_back([&, seed] {
      test::Random random(seed);
      for (int i = 0; i < 50; ++i) {
        const std::uint64_t offset = random.below(disk.size());
        Bytes part(random.below(std::min<std::uint64_t>(disk.size() - offset, 2 * kMiB)) + 1);
        source->read(offset, part);
        const auto expected = ByteView(disk).subspan(offset, part.size());
        if (!std::ranges::equal(part, expected)) ++wrong;
        static_cast<void>(source->data_ranges(round_down(offset, kSectorBytes), kSectorBytes));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("an image is readable over the socket that it offers to others") {
  TempDir folder;
  write_sparse(folder / "disk.raw", disk_bytes(2 * kMiB, 7));
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"}, folder.path());
  const auto source = open_image(folder / "disk.qcow2");
  const std::string socket = source->attachment().nbd_socket;
  run_tool({"nbdcopy", "nbd+unix:///?socket=" + socket, folder / "copy.raw"});
  CHECK(read_file(folder / "copy.raw") == read_file(folder / "disk.raw"));
  CHECK(fs::status(fs::path(socket).parent_path()).permissions() == fs::perms::owner_all);
}

TEST_CASE("the socket's folder goes with the source") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", folder / "disk.qcow2", "1M"});
  auto source = open_image(folder / "disk.qcow2");
  const fs::path socket = source->attachment().nbd_socket;
  CHECK(fs::exists(socket));
  source.reset();
  CHECK_FALSE(fs::exists(socket.parent_path()));
}

TEST_CASE("a disk that a virtual machine writes to is refused, and says why") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", folder / "disk.qcow2", "1M"});
  const int writer = test::start_command(
      {"qemu-nbd", "--persistent", "--socket=" + (folder / "sock"), "-f", "qcow2", folder / "disk.qcow2"});
  for (int i = 0; i < 200 && !fs::exists(folder / "sock"); ++i) std::this_thread::sleep_for(20ms);
  const Error error = open_error(folder / "disk.qcow2");
  ::kill(writer, SIGTERM);
  test::wait_for(writer);
  CHECK(error.code() == ErrorCode::kIo);
  CHECK(contains(error.what(), "lock"));
  CHECK(contains(error.hint(), "virtual machine"));
}

TEST_CASE("a qcow2 image that is cut short anywhere is damaged") {
  TempDir folder;
  write_sparse(folder / "disk.raw", test::random_bytes(8, 3 * kMiB));
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "whole.qcow2"}, folder.path());
  const std::uint64_t size = fs::file_size(folder / "whole.qcow2");
  CHECK(read_image(*open_image(folder / "whole.qcow2")) == read_file(folder / "disk.raw"));
  for (const std::uint64_t left : {size - 1, size - 512, size - 65536, size - 65537, size / 2, 327680UL,
                                   300000UL, 200000UL, 131072UL, 65536UL, 512UL, 100UL, 4UL}) {
    INFO(left << " of " << size);
    fs::copy_file(folder / "whole.qcow2", folder / "cut.qcow2", fs::copy_options::overwrite_existing);
    fs::resize_file(folder / "cut.qcow2", left);
    const Error error = open_error(folder / "cut.qcow2");
    CHECK(error.code() == ErrorCode::kDamaged);
    CHECK(contains(error.what(), "cut.qcow2"));
  }
}

TEST_CASE("a table of qcow2 that is cut off inside its last cluster is damage, not zeros") {
  TempDir folder;
  // Written from the end of the disk: the last table to be made is that of the disk's beginning.
  run_tool({"qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=4k", "disk.qcow2", "16M"},
           folder.path());
  run_tool({"qemu-io", "-c", "write -P 1 8M 1k", "-c", "write -P 2 2044k 1k", "disk.qcow2"}, folder.path());
  CHECK(open_image(folder / "disk.qcow2")->size() == 16 * kMiB);
  // The data follows its table: cut both, and then the table's end alone.
  const std::uint64_t size = fs::file_size(folder / "disk.qcow2");
  for (const std::uint64_t cut : {1UL, 512UL, 4096UL, 4097UL, 4500UL, 8191UL}) {
    INFO(cut);
    fs::copy_file(folder / "disk.qcow2", folder / "cut.qcow2", fs::copy_options::overwrite_existing);
    fs::resize_file(folder / "cut.qcow2", size - cut);
    CHECK(open_error(folder / "cut.qcow2").code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("an image of another format that is cut short reads right or not at all") {
  TempDir folder;
  const Bytes disk = test::random_bytes(9, 3 * kMiB);
  test::write_file(folder / "disk.raw", disk);
  for (const std::string format : {"vmdk", "vdi", "vhdx", "vpc", "qed"}) {
    const std::string name = "whole." + format;
    run_tool({"qemu-img", "convert", "-f", "raw", "-O", format, "disk.raw", name}, folder.path());
    const std::uint64_t size = fs::file_size(folder / name);
    int errors = 0;
    for (const std::uint64_t cut : {size / 50, size / 3, size * 6 / 7}) {
      INFO(name << " without its last " << cut << " bytes");
      fs::copy_file(folder / name, folder / ("cut." + format), fs::copy_options::overwrite_existing);
      fs::resize_file(folder / ("cut." + format), size - cut);
      try {
        check_same(read_image(*open_image(folder / ("cut." + format))), disk);
      } catch (const Error& error) {
        CHECK((error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kIo));
        ++errors;
      }
    }
    CHECK(errors > 0);
  }
}

TEST_CASE("a compressed cluster of nonsense is an error with its offset, not zeros") {
  TempDir folder;
  // Compressible: random bytes would be stored as they are.
  std::string text;
  while (text.size() < 4 * kMiB) text += std::to_string(text.size()) + " bottles ";
  test::write_file(folder / "disk.raw", text);
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "disk.raw", "disk.qcow2"},
           folder.path());
  Bytes image = read_file(folder / "disk.qcow2");
  const std::size_t start = image.size() - 100'000;
  std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(start), 50'000, std::byte{0x55});
  test::write_file(folder / "disk.qcow2", image);
  const auto source = open_image(folder / "disk.qcow2");
  Bytes bytes(source->size());
  const Error error = error_of([&] { source->read(0, bytes); });
  CHECK((error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kIo));
  INFO(error.what());
  CHECK(contains(error.what(), "disk.qcow2: at offset"));
  // One bad place does not spoil the others.
  Bytes sector(kSectorBytes);
  source->read(0, sector);
  CHECK(as_text(sector) == std::string_view(text).substr(0, kSectorBytes));
}

TEST_CASE("qemu-nbd that dies while reading is an error, not a hang") {
  TempDir folder;
  write_sparse(folder / "disk.raw", test::random_bytes(10, 2 * kMiB));
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"}, folder.path());
  const auto source = open_image(folder / "disk.qcow2");
  Bytes bytes(source->size());
  source->read(0, bytes);
  // Our only child.
  std::string child;
  std::getline(std::ifstream("/proc/self/task/" + std::to_string(::gettid()) + "/children"), child);
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream(task.path() / "children") >> child;
  }
  REQUIRE(std::atoi(child.c_str()) > 1);
  ::kill(std::atoi(child.c_str()), SIGKILL);
  const Error error = error_of([&] {
    for (int i = 0; i < 1000; ++i) source->read(0, bytes);
  });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK(contains(error.what(), "qemu-nbd ended with signal 9"));
}

TEST_CASE("what is no image at all is named for what it is") {
  TempDir folder;
  const Error missing = open_error(folder / "missing.qcow2");
  CHECK(missing.code() == ErrorCode::kNotFound);
  CHECK(contains(missing.what(), "missing.qcow2"));
  const Error directory = open_error(folder.path());
  CHECK(directory.code() == ErrorCode::kInvalid);
  CHECK(contains(directory.what(), "is a folder"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(open_error(folder / "pipe").code() == ErrorCode::kInvalid);
  CHECK(open_error("/dev/null").code() == ErrorCode::kInvalid);
  test::write_file(folder / "disk.raw", std::string_view("x"));
  const Error format = open_error(folder / "disk.raw", "tar");
  CHECK(format.code() == ErrorCode::kInvalid);
  CHECK(contains(format.hint(), "qcow2"));
  CHECK(open_error(folder / "disk.raw", "qcow2").code() == ErrorCode::kDamaged);
}

TEST_CASE("an image that this user may not read is an error that says so") {
  TempDir folder;
  fs::permissions(folder.path(), fs::perms(0755));
  for (const std::string name : {"disk.raw", "disk.qcow2"}) {
    run_tool({"qemu-img", "create", "-f", name.substr(5), folder / name, "1M"});
    fs::permissions(folder / name, fs::perms::none);
  }
  const pid_t process = ::fork();
  REQUIRE(process >= 0);
  if (process == 0) {
    if (::geteuid() == 0 && ::setuid(12345) != 0) ::_exit(10);
    for (const std::string name : {"disk.raw", "disk.qcow2"}) {
      test::Warnings warnings;
      try {
        static_cast<void>(open_source(folder / name, {}, warnings));
        ::_exit(11);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kIo || !contains(error.what(), "Permission denied")) ::_exit(12);
      }
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("an image larger than the limit is refused before anything is read") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=2M", folder / "huge.qcow2", "17T"});
  CHECK(open_error(folder / "huge.qcow2").code() == ErrorCode::kLimit);
}

TEST_CASE("an archive is taken as it is, with a warning") {
  TempDir folder;
  test::write_file(folder / "disk.img", std::string_view("PK\x03\x04 an archive"));
  test::Warnings warnings;
  CHECK(open_source(folder / "disk.img", {}, warnings)->facts().format == "raw");
  REQUIRE(warnings.list.size() == 1);
  CHECK(contains(warnings.list[0], "zip"));
}

}  // namespace
}  // namespace vmpack
