// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/disk_cache.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kBytesMax = kDiskCacheBytesMin;

Digest id_of(std::uint64_t number) { return sha256(struct_bytes(number)); }

std::vector<std::filesystem::path> segments_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".segment") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

std::uint64_t bytes_in(const std::filesystem::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& path : segments_in(folder)) bytes += std::filesystem::file_size(path);
  return bytes;
}

void keep_all(DiskCache& cache, std::uint64_t first, std::uint64_t count, std::size_t bytes) {
  for (std::uint64_t i = first; i < first + count; ++i) cache.keep(id_of(i), random_bytes(i, bytes));
}

std::uint64_t count_found(DiskCache& cache, std::uint64_t first, std::uint64_t count, std::size_t bytes) {
  std::uint64_t found = 0;
  for (std::uint64_t i = first; i < first + count; ++i) {
    const auto copy = cache.find(id_of(i));
    if (!copy) continue;
    REQUIRE(*copy == random_bytes(i, bytes));
    ++found;
  }
  return found;
}

}  // namespace

TEST_CASE("copies are found again, also after a restart and after a crash") {
  const TempDir folder;
  const bool crashes = GENERATE(false, true);
  const std::string copy = folder / "copy";
  {
    const auto cache = DiskCache::open(folder / "cache", kBytesMax);
    keep_all(*cache, 0, 300, 30'000);
    cache->keep(id_of(5), {});  // is there already
    CHECK(count_found(*cache, 0, 300, 30'000) == 300);
    CHECK_FALSE(cache->find(id_of(300)));
    // What a killed process leaves.
    std::filesystem::create_directory(copy);
    for (const auto& path : segments_in(folder / "cache")) std::filesystem::copy(path, copy);
  }
  const auto cache = DiskCache::open(crashes ? copy : folder / "cache", kBytesMax);
  CHECK(count_found(*cache, 0, 300, 30'000) == 300);
  keep_all(*cache, 300, 100, 30'000);
  CHECK(count_found(*cache, 0, 400, 30'000) == 400);
}

TEST_CASE("it never takes more room than it may, and what is used stays") {
  const TempDir folder;
  const auto cache = DiskCache::open(folder / "cache", kBytesMax);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    cache->keep(id_of(i), random_bytes(i, 50'000));
    REQUIRE(cache->statistics().bytes <= kBytesMax);
    if (i % 100 == 0) {
      REQUIRE(cache->find(id_of(0)));
      REQUIRE(bytes_in(folder / "cache") <= kBytesMax);
      REQUIRE(bytes_in(folder / "cache") == cache->statistics().bytes);
    }
  }
  CHECK_FALSE(cache->find(id_of(1)));
  CHECK(count_found(*cache, 1500, 500, 50'000) == 500);
}

TEST_CASE("a smaller bound holds from the start, and one user has it at a time") {
  const TempDir folder;
  {
    const auto cache = DiskCache::open(folder / "cache", 2 * kBytesMax);
    keep_all(*cache, 0, 2600, 50'000);
    CHECK(error_of([&] { (void)DiskCache::open(folder / "cache", kBytesMax); }).code() ==
          ErrorCode::kAlreadyExists);
  }
  const auto cache = DiskCache::open(folder / "cache", kBytesMax);
  CHECK(bytes_in(folder / "cache") <= kBytesMax);
  CHECK(count_found(*cache, 0, 2600, 50'000) > 1000);
  CHECK(error_of([&] { (void)DiskCache::open(folder / "other", 1000); }).code() == ErrorCode::kInvalid);
}

TEST_CASE("damaged files cost copies, and nothing else") {
  const TempDir folder;
  {
    const auto cache = DiskCache::open(folder / "cache", kBytesMax);
    keep_all(*cache, 0, 400, 30'000);
  }
  Random random(9);
  for (int round = 0; round < 12; ++round) {
    for (const auto& path : segments_in(folder / "cache")) {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      for (int i = 0; i < 3; ++i) {
        file.seekp(static_cast<std::streamoff>(random.below(std::filesystem::file_size(path))));
        file.put(static_cast<char>(random.below(256)));
      }
      file.close();
      if (random.below(10) == 0)
        std::filesystem::resize_file(path, random.below(std::filesystem::file_size(path) + 1000) + 1);
    }
    const auto cache = DiskCache::open(folder / "cache", kBytesMax);
    CHECK(count_found(*cache, 0, 400, 30'000) <= 400);
    cache->keep(id_of(7), random_bytes(7, 30'000));
    CHECK(cache->find(id_of(7)));
  }
}

TEST_CASE("files that are no segments of ours take no memory, and restarts leave no heap of small ones") {
  const TempDir folder;
  std::filesystem::create_directory(folder / "cache");
  const std::filesystem::path huge = folder / "cache/000000000001.segment";
  std::ofstream(huge) << "x";
  std::filesystem::resize_file(huge, std::uint64_t{1} << 40);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto cache = DiskCache::open(folder / "cache", kBytesMax);
    cache->keep(id_of(i), random_bytes(i, 1000));
  }
  CHECK_FALSE(std::filesystem::exists(huge));
  CHECK(segments_in(folder / "cache").size() <= 65);
  const auto cache = DiskCache::open(folder / "cache", kBytesMax);
  CHECK(count_found(*cache, 90, 10, 1000) == 10);
}

TEST_CASE("many threads at once get what was kept") {
  const TempDir folder;
  const auto cache = DiskCache::open(folder / "cache", kBytesMax);
  std::atomic<int> wrong = 0;
  const auto work = [&](std::uint64_t seed) {
    Random random(seed);
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t number = random.below(1000);
      const auto copy = cache->find(id_of(number));
      if (copy && *copy != random_bytes(number, 40'000)) ++wrong;
      if (!copy) cache->keep(id_of(number), random_bytes(number, 40'000));
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 1; i <= 4; ++i) threads.emplace_back(work, i);
  }
  CHECK(wrong == 0);
  CHECK(cache->statistics().damaged == 0);
  CHECK(cache->statistics().hits > 0);
}

}  // namespace vmpack::test
