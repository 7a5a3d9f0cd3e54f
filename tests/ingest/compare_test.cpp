// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/compare.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/byte_ranges.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using vmpack::test::MemorySource;
using vmpack::test::Random;

namespace {

constexpr std::uint64_t kBlock = 4096;

/// Noise and zeros in blocks.
Bytes make_disk(Random& random, std::uint64_t size) {
  Bytes disk(size);
  for (std::uint64_t at = 0; at < size; at += kBlock) {
    if (random.below(2) == 0) continue;
    const Bytes noise = test::random_bytes(random.next(), std::min(kBlock, size - at));
    std::ranges::copy(noise, disk.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return disk;
}

}  // namespace

TEST_CASE("applied to what was before, the difference makes the image, and holds no block that is the same") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    const std::uint64_t size = 3 * kMiB + random.below(8) * kSectorBytes;
    const Bytes before = make_disk(random, size - random.below(2000) * kSectorBytes);
    Bytes now = before;
    now.resize(size);
    std::vector<ByteRange> ranges;
    for (std::uint64_t at = 0; at < size; at += random.below(200) * kSectorBytes) {
      const std::uint64_t length = std::min((1 + random.below(60)) * kSectorBytes, size - at);
      ranges.push_back({at, length});
      const Bytes fresh = random.below(2) == 0 ? Bytes(length) : test::random_bytes(random.next(), length);
      if (random.below(3) != 0) std::ranges::copy(fresh, now.begin() + static_cast<std::ptrdiff_t>(at));
      at += length;
    }
    sort_and_join(ranges);
    MemorySource source(now);
    MemorySource old(before);
    NoProgress progress;
    const Difference difference = compare(source, old, ranges, progress);
    Bytes made = before;
    made.resize(size);
    for (const ByteRange& range : difference.data) {
      REQUIRE(lies_within(ranges, range.offset, range.length));
      std::copy_n(now.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                  made.begin() + static_cast<std::ptrdiff_t>(range.offset));
    }
    for (const ByteRange& range : difference.zeroed) {
      std::fill_n(made.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, std::byte{0});
    }
    REQUIRE(made == now);
    REQUIRE(intersect(difference.data, difference.zeroed).empty());
  }
}

TEST_CASE("an image has no difference to itself") {
  Random random(1);
  MemorySource one(make_disk(random, kMiB));
  NoProgress progress;
  const std::vector<ByteRange> all{{0, kMiB}};
  const Difference difference = compare(one, one, all, progress);
  CHECK(difference.data.empty());
  CHECK(difference.zeroed.empty());
}
