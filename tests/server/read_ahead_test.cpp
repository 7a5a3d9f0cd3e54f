// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/read_ahead.hpp"

#include <catch2/catch.hpp>

#include "tests/support/random_bytes.hpp"

namespace vmpack::nbd {
namespace {

constexpr std::uint64_t kImageBytes = 64 * kMiB;
constexpr std::uint64_t kStep = 64 * kKiB;

/// Reads [from, to) in steps; returns the bytes that were to be fetched, checking that each is asked for once
/// and ahead.
std::uint64_t read_on(ReadAhead& ahead, std::uint64_t from, std::uint64_t to, bool from_memory) {
  std::uint64_t fetched = 0;
  std::uint64_t fetched_end = 0;
  for (std::uint64_t at = from; at < to; at += kStep) {
    const ByteRange range = ahead.note({at, kStep}, from_memory, kImageBytes);
    if (range.length == 0) continue;
    CHECK(range.offset >= at + kStep);
    CHECK(range.offset >= fetched_end);
    CHECK(range.end() <= std::min(at + kStep + kReadAheadBytesMax, kImageBytes));
    fetched += range.length;
    fetched_end = range.end();
  }
  return fetched;
}

}  // namespace

TEST_CASE("what follows a sequential reader is fetched, once and not beyond the image") {
  ReadAhead ahead;
  CHECK(read_on(ahead, 0, 32 * kMiB, false) >= 31 * kMiB);
  CHECK(read_on(ahead, 32 * kMiB, kImageBytes, false) <= 32 * kMiB);
}

TEST_CASE("several places are followed at the same time") {
  ReadAhead ahead;
  std::uint64_t fetched = 0;
  for (std::uint64_t at = 0; at < 8 * kMiB; at += kStep) {
    fetched += ahead.note({at, kStep}, false, kImageBytes).length;
    fetched += ahead.note({32 * kMiB + at, kStep}, false, kImageBytes).length;
  }
  CHECK(fetched >= 15 * kMiB);
}

TEST_CASE("random readers, and those who find all in memory, cost nothing") {
  ReadAhead ahead;
  test::Random random(5);
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t offset = random.below(kImageBytes / (2 * kMiB)) * 2 * kMiB;
    CHECK(ahead.note({offset, 4096}, false, kImageBytes).length == 0);
  }
  ReadAhead known;
  CHECK(read_on(known, 0, kMiB, false) > 0);
  CHECK(read_on(known, kMiB, kImageBytes, true) <= 40 * kMiB);
  // Begins again where something is missing again.
  ReadAhead again;
  CHECK(read_on(again, 0, 40 * kMiB, true) > 0);
  CHECK(read_on(again, 40 * kMiB, 41 * kMiB, true) == 0);
  CHECK(read_on(again, 41 * kMiB, 44 * kMiB, false) > 0);
}

}  // namespace vmpack::nbd
