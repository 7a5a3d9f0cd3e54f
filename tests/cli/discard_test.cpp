// SPDX-License-Identifier: Apache-2.0
// ingest --discard-free: what is dropped, what must not be, and when it refuses.
#include <filesystem>

#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr int kFailed = 1;
constexpr std::uint64_t kResidueBytes = 8 * kMiB;

/// A file system of which a large file was deleted.
void make_image_with_residue(const std::string& path, const std::string& folder) {
  make_sample_image(path, 64 * kMiB, 1);
  write_file(folder + "/noise", random_bytes(7, kResidueBytes));
  debugfs(path, {"write " + folder + "/noise deleted", "rm deleted"});
  // debugfs leaves the counters as they were before: what e2fsck says of the image must not change.
  run_tool({"sh", "-c", "e2fsck -fy \"$0\" || [ $? -le 1 ]", path});
}

/// All files of a file system, with their contents, modes, owners and times.
std::string listing(const std::string& image, const std::string& folder) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  run_tool({"debugfs", "-R", "rdump / " + folder, image});
  return run_tool({"sh", "-c",
                   "find . -type l -printf '%P %M %l\\n' -o -printf '%P %M %U %G %s %T@\\n' | sort; "
                   "find . -type f -print0 | sort -z | xargs -0 sha256sum"},
                  folder);
}

std::uint64_t discarded(const SampleRepository& repository, const std::string& reference,
                        const std::string& what) {
  return vmpack_json({"show", reference, "--repo", repository.path()})
      .at("manifest")
      .at("discarded")
      .at(what)
      .get<std::uint64_t>();
}

void make_swap(const std::string& path) {
  make_sparse_file(path, 16 * kMiB);
  run_tool({"mkswap", "-L", "swapspace", "-U", "0b5d6ee5-7d5e-4c6b-8d50-2f1b3a0f6c11", path});
  overwrite(path, kMiB, random_bytes(3, 4 * kMiB));
}

}  // namespace

TEST_CASE("free space is left out when asked for, and every file stays as it was") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  const std::string restored = repository / "restored.raw";
  make_image_with_residue(image, repository.folder());

  const OrderedJson all = repository.ingest(image, "all:1");
  const OrderedJson less = repository.ingest(image, "less:1", {"--discard-free"});
  CHECK(all.at("data_bytes").get<std::uint64_t>() >=
        less.at("data_bytes").get<std::uint64_t>() + kResidueBytes);
  CHECK(less.at("stored_bytes").get<std::uint64_t>() < kMiB);  // the rest is known already
  CHECK(discarded(repository, "less:1", "free") >= kResidueBytes);
  CHECK(discarded(repository, "less:1", "swap") == 0);
  repository.require_intact();

  repository.restore("less:1", restored);
  CHECK(allocated_bytes(restored) + kResidueBytes <= allocated_bytes(image));
  run_tool({"e2fsck", "-fn", restored});
  CHECK(listing(restored, repository / "tree") == listing(image, repository / "tree"));
  repository.restore("all:1", restored);
  CHECK(same_bytes(restored, image));

  const std::string shown = vmpack_done({"show", "less:1", "--repo", repository.path()});
  CHECK(shown.find("discarded") != std::string::npos);
}

TEST_CASE("free space of both file systems of a disk is left out, and what lies between them is kept") {
  const SampleRepository repository;
  const std::string image = repository / "disk.raw";
  const std::string restored = repository / "restored.raw";
  make_disk_with_two_volumes(image, 5);
  overwrite(image, 34 * kSectorBytes, text_bytes(5, 4096));  // behind the table, before the first volume
  repository.ingest(image, "disk:1", {"--discard-free"});
  repository.restore("disk:1", restored);
  Bytes original(kMiB);
  Bytes kept(kMiB);
  {
    const Bytes a = read_file(image);
    const Bytes b = read_file(restored);
    std::copy_n(a.begin(), kMiB, original.begin());
    std::copy_n(b.begin(), kMiB, kept.begin());
  }
  CHECK(kept == original);
  for (const std::uint64_t start : {kMiB, 17 * kMiB}) {
    const std::string volume = repository / "volume";
    run_tool({"dd", "if=" + restored, "of=" + volume, "bs=1M", "skip=" + std::to_string(start / kMiB),
              "count=15", "status=none"});
    run_tool({"e2fsck", "-fn", volume});
  }
}

TEST_CASE("a file system that was not cleanly unmounted keeps its free space") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  make_image_with_residue(image, repository.folder());
  debugfs(image, {"set_super_value state 0"});
  require_one_line(repository.try_ingest(image, "dirty:1", {"--discard-free"}), kFailed,
                   {"not cleanly unmounted", "fsck", "--discard-free"});
  repository.require_round_trip(image, image);
}

TEST_CASE("a damaged file system keeps its free space") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  const std::string restored = repository / "restored.raw";
  make_image_with_residue(image, repository.folder());
  overwrite(image, 2048 + 0x1e, Bytes(2, std::byte{0x5a}));  // a group descriptor's checksum
  const CommandResult result = repository.try_ingest(image, "damaged:1", {"--discard-free"});
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(result.err.find("kept") != std::string::npos);
  repository.restore("damaged:1", restored);
  CHECK(same_bytes(restored, image));
}

TEST_CASE("swap space keeps its header alone, unless a system is suspended in it") {
  const SampleRepository repository;
  const std::string image = repository / "swap.raw";
  const std::string restored = repository / "restored.raw";
  make_swap(image);
  repository.ingest(image, "swap:1", {"--discard-free"});
  CHECK(discarded(repository, "swap:1", "swap") >= 4 * kMiB);
  repository.restore("swap:1", restored);
  CHECK(allocated_bytes(restored) <= 128 * kKiB);
  CHECK(run_tool({"blkid", "-p", "-o", "value", restored}) ==
        run_tool({"blkid", "-p", "-o", "value", image}));

  overwrite(image, 4086, as_byte_view(std::string_view("S1SUSPEND\0", 10)));
  require_one_line(repository.try_ingest(image, "suspended:1", {"--discard-free"}), kFailed,
                   {"suspended", "--discard-free"});
  repository.require_round_trip(image, image);
}
