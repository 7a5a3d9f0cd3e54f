// SPDX-License-Identifier: Apache-2.0
// What was ingested comes back identical, in whatever format it came.
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kTiB = 1024 * kGiB;

}  // namespace

TEST_CASE("a disk comes back the same from raw, qcow2, vmdk, vdi and vhdx files, and is stored once") {
  const SampleRepository repository;
  const std::string raw = repository / "disk.raw";
  make_disk_with_two_volumes(raw, 1);
  repository.require_round_trip(raw, raw);

  const std::vector<std::pair<std::string, std::vector<std::string>>> formats = {
      {"plain.qcow2", {"-O", "qcow2"}},
      {"zstd.qcow2", {"-O", "qcow2", "-c", "-o", "compression_type=zstd"}},
      {"zlib.qcow2", {"-O", "qcow2", "-c"}},
      {"small-clusters.qcow2", {"-O", "qcow2", "-o", "cluster_size=512"}},
      {"disk.vmdk", {"-O", "vmdk"}},
      {"stream.vmdk", {"-O", "vmdk", "-o", "subformat=streamOptimized"}},
      {"disk.vdi", {"-O", "vdi"}},
      {"disk.vhdx", {"-O", "vhdx"}},
  };
  for (const auto& [name, options] : formats) {
    const std::string image = repository / name;
    std::vector<std::string> convert{"qemu-img", "convert", "-f", "raw"};
    convert.insert(convert.end(), options.begin(), options.end());
    convert.insert(convert.end(), {raw, image});
    run_tool(convert);
    repository.require_round_trip(image, raw);
    CHECK(repository.ingest(image, "again:" + name).at("objects_new") == 0);
  }
  repository.require_intact();
}

TEST_CASE("a snapshot restored as qcow2 is the same disk") {
  const SampleRepository repository;
  const std::string raw = repository / "disk.raw";
  make_mixed_disk(raw, 8 * kMiB + 512, 2);
  repository.ingest(raw, "a:1");
  const std::string by_option = repository / "by-option";
  vmpack_done({"restore", "a:1", by_option, "--format", "qcow2", "--repo", repository.path()});
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, by_option});
  run_tool({"qemu-img", "check", "-f", "qcow2", by_option});
  const std::string by_name = repository / "by-name.qcow2";
  vmpack_done({"restore", "a:1", by_name, "--repo", repository.path()});
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, by_name});
  repository.require_round_trip(by_name, raw);
}

TEST_CASE("a chain of three qcow2 files comes back as the disk that the last one shows") {
  const SampleRepository repository;
  const std::string base = repository / "base.raw";
  make_mixed_disk(base, 8 * kMiB, 3);
  const auto overlay = [&](const std::string& name, const std::string& below,
                           const std::string& below_format) {
    run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", below_format, name},
             repository.folder());
  };
  run_tool({"qemu-img", "convert", "-O", "qcow2", "-c", base, repository / "base.qcow2"});
  overlay("middle.qcow2", "base.qcow2", "qcow2");
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x11 1M 300k", "-c", "write -z 3M 1M",
            repository / "middle.qcow2"});
  overlay("top.qcow2", "middle.qcow2", "qcow2");
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x22 1100k 5k", "-c", "discard 5M 1M", "-c",
            "write -P 0x33 3584k 512", repository / "top.qcow2"});
  const std::string flat = repository / "flat.raw";
  run_tool({"qemu-img", "convert", "-O", "raw", repository / "top.qcow2", flat});
  repository.require_round_trip(repository / "top.qcow2", flat);
  repository.require_round_trip(repository / "base.qcow2", base);
}

TEST_CASE("images whose size is no multiple of 4 KiB come back with that size") {
  const SampleRepository repository;
  std::vector<std::uint64_t> sizes{512, 1024, 3584, 4096};
  for (std::uint64_t sectors = 1; sectors < 8; ++sectors) sizes.push_back(4 * kMiB + sectors * 512);
  sizes.push_back(16 * kMiB - 512);
  for (const std::uint64_t size : sizes) {
    const std::string raw = repository / std::to_string(size);
    make_mixed_disk(raw, size, size);
    overwrite(raw, size - 512, random_bytes(size, 512));
    repository.require_round_trip(raw, raw);
    std::filesystem::remove(raw);
  }
  repository.require_intact();
}

TEST_CASE("a raw file that ends within a sector comes back with zeros up to the sector's end") {
  const SampleRepository repository;
  for (const std::uint64_t size : {1, 511, 1000, 70'001}) {
    const std::string raw = repository / std::to_string(size);
    write_file(raw, random_bytes(size, size));
    const std::string padded = repository / "padded";
    std::filesystem::copy_file(raw, padded);
    std::filesystem::resize_file(padded, round_up(size, kSectorBytes));
    repository.require_round_trip(raw, padded);
    std::filesystem::remove(padded);
  }
}

TEST_CASE("an empty image comes back empty") {
  const SampleRepository repository;
  const std::string raw = repository / "empty.raw";
  make_sparse_file(raw, 0);
  repository.require_round_trip(raw, raw);
  const std::string qcow2 = repository / "empty.qcow2";
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", qcow2, "0"});
  repository.require_round_trip(qcow2, raw);
  const std::string restored = repository / "restored.qcow2";
  repository.restore("trip:empty.raw", restored);
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, restored});
  repository.require_intact();
}

TEST_CASE("1 TiB of zeros is ingested at once and restored without taking room") {
  const SampleRepository repository;
  const std::string raw = repository / "zeros";
  make_sparse_file(raw, kTiB);
  const auto start = std::chrono::steady_clock::now();
  const OrderedJson facts = repository.ingest(raw, "zeros:1");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(facts.at("image_bytes") == kTiB);
  CHECK(facts.at("data_bytes") == 0);
  const std::string restored = repository / "restored";
  repository.restore("zeros:1", restored);
  CHECK(allocated_bytes(restored) == 0);
  CHECK(same_bytes(raw, restored));
  repository.require_intact();
}

TEST_CASE("a disk of 1 TiB with little on it costs that little") {
  const SampleRepository repository;
  const std::string raw = repository / "wide";
  make_sparse_file(raw, kTiB);
  std::uint64_t seed = 1;
  for (const std::uint64_t at : {std::uint64_t{0}, kTiB / 3 / 512 * 512, kTiB / 2, kTiB - 4096}) {
    overwrite(raw, at, random_bytes(seed++, 4096));
  }
  repository.ingest(raw, "wide:1");
  const std::string restored = repository / "restored";
  repository.restore("wide:1", restored);
  CHECK(allocated_bytes(restored) <= allocated_bytes(raw));
  CHECK(same_bytes(raw, restored));
  const std::string qcow2 = repository / "wide.qcow2";
  repository.restore("wide:1", qcow2);
  CHECK(allocated_bytes(qcow2) < 4 * kMiB);
  run_tool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow2});
}

TEST_CASE("a restored raw file has holes where the disk is zero, written or not") {
  const SampleRepository repository;
  const std::string raw = repository / "disk.raw";
  make_sparse_file(raw, 64 * kMiB);
  overwrite(raw, 8 * kMiB, Bytes(16 * kMiB));  // zeros that were written
  overwrite(raw, 32 * kMiB, random_bytes(1, kMiB));
  repository.ingest(raw, "a:1");
  const std::string restored = repository / "restored";
  repository.restore("a:1", restored);
  CHECK(same_bytes(raw, restored));
  CHECK(allocated_bytes(restored) <= kMiB + 64 * kKiB);
}

TEST_CASE("the same image again is the same snapshot and adds nothing") {
  const SampleRepository repository;
  const std::string raw = repository / "disk.raw";
  make_disk_with_two_volumes(raw, 4);
  const OrderedJson first = repository.ingest(raw, "a:1");
  const auto before = repository.contents();
  const OrderedJson second = repository.ingest(raw, "a:2");
  CHECK(first.at("snapshot") == second.at("snapshot"));
  CHECK(first.at("stored_bytes") > 0);
  for (const std::string member : {"objects_new", "bytes_new", "stored_bytes", "frames_new", "packs_new"}) {
    INFO(member);
    CHECK(second.at(member) == 0);
  }
  for (const auto& [key, bytes] : repository.contents()) {
    if (key.starts_with("refs/") || key.starts_with("notes/")) continue;
    INFO(key);
    CHECK(std::ranges::find(before, key, &std::pair<std::string, Bytes>::first) != before.end());
  }
  repository.require_intact();
}

}  // namespace vmpack::test
