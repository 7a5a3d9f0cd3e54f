// SPDX-License-Identifier: Apache-2.0
// Inspection of disk images with file systems damaged at random, by all that it starts: whatever is in there,
// a layout comes back that the whole image can be cut along, and the parent's memory stays where it was. An
// input is a list of changes to one of a few small disks: the number of the disk, then for each change a
// place among the bytes that are not zero (three bytes) and a value (one byte).
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/inspect/inspect.hpp"
#include "libvmpack/partition/plan.hpp"
#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kParentBytesMax = 512 * kMiB;
constexpr std::size_t kChangeBytes = 4;

struct Disk {
  Bytes bytes;
  std::vector<std::uint32_t> used;  ///< offsets of the bytes that are not zero
};

void run_or_abort(const std::vector<std::string>& command) {
  if (run_command(command).exit_code != 0) std::abort();
}

Disk make_disk(const std::vector<std::string>& make, std::uint64_t bytes, bool partitioned = false) {
  const TempDir folder;
  const std::string image = folder / "image";
  const std::string tree = folder / "tree";
  std::filesystem::create_directory(tree);
  for (const char* name : {"/a", "/b", "/some longer name.txt"})
    write_file(tree + name, random_bytes(1, 700));
  write_file(image, Bytes{});
  std::filesystem::resize_file(image, bytes);
  std::vector<std::string> command = make;
  if (make.front() == "mke2fs") command.insert(command.end(), {"-d", tree});
  command.push_back(image);
  run_or_abort(command);
  Disk disk{read_file(image), {}};
  if (partitioned) {
    constexpr std::uint64_t kStart = 1 * kMiB;
    std::filesystem::resize_file(image, kStart + bytes + kMiB);
    run_or_abort({"sh", "-c", "echo 2048,,L | sfdisk -q --label gpt " + image});
    Bytes whole = read_file(image);
    std::ranges::copy(disk.bytes, whole.begin() + kStart);
    disk.bytes = std::move(whole);
  }
  for (std::size_t i = 0; i < disk.bytes.size(); ++i) {
    if (disk.bytes[i] != std::byte{0}) disk.used.push_back(static_cast<std::uint32_t>(i));
  }
  return disk;
}

const std::vector<Disk>& disks() {
  static const std::vector<Disk> all{
      make_disk({"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024"}, 512 * kKiB),
      make_disk({"mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024"}, 256 * kKiB, true),
      make_disk({"mkfs.fat", "-F", "12"}, 256 * kKiB),
      make_disk({"mkfs.fat", "-F", "32"}, 34 * kMiB),
      make_disk({"mkntfs", "-q", "-F", "-f"}, 2 * kMiB),
  };
  return all;
}

void change(Bytes& bytes, const Disk& disk, ByteView changes) {
  for (std::size_t at = 0; at + kChangeBytes <= changes.size(); at += kChangeBytes) {
    std::uint32_t place = 0;
    for (std::size_t i = 0; i < 3; ++i) place = place << 8U | static_cast<std::uint8_t>(changes[at + i]);
    bytes[disk.used[place % disk.used.size()]] = changes[at + 3];
  }
}

}  // namespace

std::vector<Bytes> fuzz_seeds() {
  std::vector<Bytes> seeds;
  for (std::size_t i = 0; i < disks().size(); ++i) {
    for (std::uint64_t changes : {0, 1, 3, 20}) {
      Bytes seed{static_cast<std::byte>(i)};
      append(seed, random_bytes(changes, changes * kChangeBytes));
      seeds.push_back(std::move(seed));
    }
  }
  return seeds;
}

}  // namespace vmpack::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmpack;
  using namespace vmpack::test;
  static const TempDir folder;
  if (size == 0) return 0;
  const Disk& disk = disks()[data[0] % disks().size()];
  Bytes bytes = disk.bytes;
  change(bytes, disk, {reinterpret_cast<const std::byte*>(data + 1), size - 1});
  const std::string image = folder / "image";
  write_file(image, bytes);

  NoProgress progress;
  const auto source = open_source(image, {.format = "raw", .backing_root = {}, .disk = {}}, progress);
  const Layout layout = inspect(*source, {.child_time_max = std::chrono::seconds(15)}, progress);
  const ByteRange whole{0, source->size()};
  std::uint64_t covered = 0;
  for (const Part& part : make_plan(layout, std::array{whole}, {}).parts) covered += total_bytes(part.ranges);
  if (covered != whole.length) std::abort();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  if (static_cast<std::uint64_t>(usage.ru_maxrss) * kKiB > kParentBytesMax) std::abort();
  return 0;
}
