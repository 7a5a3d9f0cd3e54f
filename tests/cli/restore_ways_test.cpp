// SPDX-License-Identifier: Apache-2.0
// Other ways out than a new raw file: a part of the image, what is there already, compressed qcow2.
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>
#include <thread>

#include "libvmpack/base/file_descriptor.hpp"
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

constexpr std::uint64_t kImageBytes = 12 * kMiB + 1536;

/// Two versions of a disk, a:1 and a:2, that differ in a few places.
class TwoDisks {
 public:
  TwoDisks() {
    make_mixed_disk(image(1), kImageBytes, 1);
    fs::copy_file(image(1), image(2));
    overwrite(image(2), 5 * kMiB + 4096, random_bytes(2, 8192));  // two blocks
    overwrite(image(2), kImageBytes - 512, random_bytes(3, 512));
    overwrite(image(2), 7 * kMiB, Bytes(kMiB));
    for (const int number : {1, 2}) repository_.ingest(image(number), fmt::format("a:{}", number));
  }

  [[nodiscard]] std::string image(int number) const { return repository_ / fmt::format("disk{}", number); }
  [[nodiscard]] std::string operator/(std::string_view name) const { return repository_ / name; }
  [[nodiscard]] CommandResult restore(const std::string& reference, const std::string& out,
                                      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"restore", reference, out, "--repo", repository_.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack(arguments);
  }
  OrderedJson restored(const std::string& reference, const std::string& out,
                       std::vector<std::string> more = {}) const {
    more.emplace_back("--json");
    const CommandResult result = restore(reference, out, more);
    INFO(result.out << result.err);
    REQUIRE(result.exit_code == 0);
    return OrderedJson::parse(result.out);
  }

 private:
  SampleRepository repository_{memory_folder()};
};

Bytes part_of(const std::string& path, std::uint64_t offset, std::uint64_t length) {
  Bytes bytes(length);
  const auto file = FileDescriptor::open(path, O_RDONLY);
  REQUIRE(read_at(file.get(), bytes, offset, path) == length);
  return bytes;
}

/// Whether a device, or a larger file, begins with what the file holds.
bool begins_with(const std::string& device, const std::string& file) {
  const Bytes bytes = read_file(file);
  return part_of(device, 0, bytes.size()) == bytes;
}

}  // namespace

TEST_CASE("a range of the image is what a reader of the image would see there") {
  const TwoDisks disks;
  const std::string out = disks / "part";
  const std::vector<std::pair<std::string, ByteRange>> ranges = {
      {"0:512", {0, 512}},
      {"0:1M", {0, kMiB}},
      {"1M:1", {kMiB, 1}},
      {"1048575:2", {kMiB - 1, 2}},
      {"4000K:2001K", {4000 * kKiB, 2001 * kKiB}},
      {"12M:", {12 * kMiB, 1536}},
      {"0:", {0, kImageBytes}},
      {"3M:0", {3 * kMiB, 0}},
  };
  for (const auto& [text, range] : ranges) {
    INFO(text);
    const OrderedJson facts = disks.restored("a:2", out, {"--range", text, "--force"});
    CHECK(facts.at("image_bytes") == range.length);
    CHECK((read_file(out) == part_of(disks.image(2), range.offset, range.length)));
  }
  require_one_line(disks.restore("a:2", out, {"--range", "0:1"}), 1, {out, "exists"});
}

TEST_CASE("a file is brought up to date by writing what differs") {
  const TwoDisks disks;
  const std::string out = disks / "out";
  fs::copy_file(disks.image(1), out);
  const OrderedJson facts = disks.restored("a:2", out, {"--update"});
  CHECK(same_bytes(out, disks.image(2)));
  const auto written = facts.at("written_bytes").get<std::uint64_t>();
  CHECK(written >= 8192 + 512);
  CHECK(written <= 8192 + 4096);
  CHECK(facts.at("zeroed_bytes") <= kMiB);

  const OrderedJson again = disks.restored("a:2", out, {"--update"});
  CHECK(again.at("written_bytes") == 0);
  CHECK(again.at("zeroed_bytes") == 0);
  disks.restored("a:1", out, {"--update"});
  CHECK(same_bytes(out, disks.image(1)));
}

TEST_CASE("a file that is updated takes the size of the image, and gives back what is zero") {
  const TwoDisks disks;
  const std::string out = disks / "out";
  for (const std::uint64_t size : {std::uint64_t{0}, 5 * kMiB + 77, kImageBytes + 3 * kMiB}) {
    INFO(size);
    write_file(out, random_bytes(9, size));
    disks.restored("a:1", out, {"--update"});
    CHECK(same_bytes(out, disks.image(1)));
  }
  vmpack_done({"restore", "a:1", disks / "new", "--repo", disks / "repository"});
  CHECK(allocated_bytes(out) <= allocated_bytes(disks / "new") + 256 * kKiB);
}

TEST_CASE("an update needs a file that nobody else has in use") {
  const TwoDisks disks;
  require_one_line(disks.restore("a:1", disks / "nothing", {"--update"}), 1, {"nothing"});
  require_one_line(disks.restore("a:1", disks.image(1) + "/..", {"--update"}), 1, {".."});
  require_one_line(disks.restore("a:1", "/dev/null", {"--update"}), 1, {"/dev/null"});
  require_one_line(disks.restore("a:1", "/dev/null", {"--force"}), 1, {"/dev/null"});

  const std::string out = disks / "out";
  fs::copy_file(disks.image(1), out);
  const std::string socket = disks / "socket";
  const int qemu = start_command({"qemu-nbd", "-f", "raw", "--persistent", "--socket", socket, out});
  for (int i = 0; i < 500 && !fs::exists(socket); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  require_one_line(disks.restore("a:2", out, {"--update"}), 1, {out, "in use"});
  ::kill(qemu, SIGTERM);
  wait_for(qemu);
  CHECK(same_bytes(out, disks.image(1)));
  disks.restored("a:2", out, {"--update"});
}

TEST_CASE("a block device becomes the image by writing what differs, and keeps what lies behind it") {
  if (!SmallFileSystem::possible()) {
    WARN("left out: loop devices take root");
    return;
  }
  const TwoDisks disks;
  const std::uint64_t device_bytes = 16 * kMiB;
  const std::string file = disks / "device";
  make_sparse_file(file, device_bytes);
  overwrite(file, kImageBytes, random_bytes(5, device_bytes - kImageBytes));
  const LoopDevice device(file, {0, device_bytes});
  const Bytes behind = part_of(device.path(), kImageBytes, device_bytes - kImageBytes);

  const OrderedJson first = disks.restored("a:1", device.path());  // blank: needs no force
  CHECK(begins_with(device.path(), disks.image(1)));
  CHECK(first.at("written_bytes") == first.at("data_bytes"));
  CHECK(first.at("zeroed_bytes") == 0);

  const OrderedJson second = disks.restored("a:2", device.path());  // begins like the image
  CHECK(begins_with(device.path(), disks.image(2)));
  CHECK(second.at("written_bytes") <= 8192 + 4096);
  CHECK(disks.restored("a:2", device.path(), {"--update"}).at("written_bytes") == 0);

  overwrite(device.path(), 0, random_bytes(6, kImageBytes));
  require_one_line(disks.restore("a:2", device.path()), 1, {device.path(), "something else", "--force"});
  CHECK((part_of(device.path(), 0, kImageBytes) == random_bytes(6, kImageBytes)));
  const OrderedJson forced = disks.restored("a:2", device.path(), {"--force"});
  CHECK(forced.at("zeroed_bytes") > 0);
  CHECK(begins_with(device.path(), disks.image(2)));
  CHECK((part_of(device.path(), kImageBytes, behind.size()) == behind));
  CHECK(allocated_bytes(file) < device_bytes);  // ranges of zeros were given back
}

TEST_CASE("a block device that is in use, or too small, is left alone") {
  if (!SmallFileSystem::possible()) {
    WARN("left out: loop devices take root");
    return;
  }
  const TwoDisks disks;
  const std::string file = disks / "device";
  make_sparse_file(file, 16 * kMiB);
  run_or_throw({"mke2fs", "-q", "-t", "ext4", file});
  const LoopDevice device(file, {0, 16 * kMiB});
  {
    const Mounted mounted(device.path(), disks / "mounted");
    require_one_line(disks.restore("a:1", device.path(), {"--force"}), 1, {device.path(), "in use"});
  }
  run_or_throw({"e2fsck", "-fn", device.path()});
  const LoopDevice small(file, {0, 12 * kMiB});
  require_one_line(disks.restore("a:1", small.path(), {"--force"}), 1, {small.path(), "too small"});
  run_or_throw({"e2fsck", "-fn", device.path()});
}

TEST_CASE("a compressed qcow2 file is the same disk, sound, and smaller") {
  const TwoDisks disks;
  for (const std::string name : {"plain.qcow2", "with,comma.qcow2"}) {
    const std::string out = disks / name;
    const OrderedJson facts = disks.restored("a:2", out, {"--compress"});
    CHECK(facts.at("format") == "qcow2");
    CHECK(facts.at("image_bytes") == kImageBytes);
    run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", disks.image(2), "file:" + out});
    run_tool({"qemu-img", "check", "-f", "qcow2", "file:" + out});
    const std::string info = run_tool({"qemu-img", "info", "-f", "qcow2", "file:" + out});
    CHECK(info.find("compression type: zstd") != std::string::npos);
    CHECK(info.find(fmt::format("({} bytes)", kImageBytes)) != std::string::npos);
  }
  disks.restored("a:2", disks / "large.qcow2");
  CHECK(fs::file_size(disks / "plain.qcow2") < fs::file_size(disks / "large.qcow2") * 9 / 10);
}

TEST_CASE("compressed qcow2 files of all sizes come out right") {
  const SampleRepository repository;
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{512}, 64 * kKiB, 64 * kKiB + 512, 3 * kMiB}) {
    INFO(size);
    const std::string raw = repository / fmt::format("{}", size);
    make_sparse_file(raw, size);
    if (size > 0) overwrite(raw, size - 512, random_bytes(size, 512));
    repository.ingest(raw, fmt::format("a:{}", size));
    const std::string out = repository / fmt::format("{}.qcow2", size);
    vmpack_done({"restore", fmt::format("a:{}", size), out, "--compress", "--repo", repository.path()});
    run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out});
  }
}

TEST_CASE("ways out that contradict each other are refused before anything is written") {
  const TwoDisks disks;
  const std::string out = disks / "out";
  const std::vector<std::vector<std::string>> wrong = {
      {"--compress"},
      {"--compress", "--format", "raw"},
      {"--update", "--format", "qcow2"},
      {"--range", "0:1", "--update"},
      {"--range", "0:1", "--format", "qcow2"},
      {"--range", "1M"},
      {"--range", "a:b"},
      {"--range", ":"},
      {"--range", "13M:"},
      {"--range", "12M:2K"},
      {"--range", "18446744073709551615:2"},
      {"--range", "1:18446744073709551615"},
  };
  for (const std::vector<std::string>& options : wrong) {
    INFO(options.front() << " " << options.back());
    require_one_line(disks.restore("a:1", out, options), 2, {});
    CHECK_FALSE(fs::exists(out));
  }
}

}  // namespace vmpack::test
