// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/frame_cache.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "libvmpack/base/units.hpp"

using namespace vmpack;

namespace {

FrameDigest digest_of(std::uint32_t number) { return FrameDigest(sha256(struct_bytes(number))); }

FramePtr frame_of(std::uint32_t number, std::size_t size) {
  auto frame = std::make_shared<DecodedFrame>();
  frame->bytes.assign(size, static_cast<std::byte>(number));
  return frame;
}

bool holds(FrameCache& cache, const FrameDigest& digest) {
  const FrameCache::ReadGuard guard;
  return cache.find(guard, digest) != nullptr;
}

/// Reads frames [first, first + count) once each, in pieces as a guest or a copy does.
void pass_over(FrameCache& cache, std::uint32_t first, std::uint32_t count, std::size_t frame_bytes) {
  for (std::uint32_t i = first; i < first + count; ++i) {
    for (int piece = 0; piece < 8; ++piece) {
      (void)cache.get(digest_of(i), [&] { return frame_of(i, frame_bytes); });
    }
  }
}

std::uint32_t count_held(FrameCache& cache, std::uint32_t first, std::uint32_t count) {
  std::uint32_t held = 0;
  for (std::uint32_t i = first; i < first + count; ++i) held += holds(cache, digest_of(i)) ? 1 : 0;
  return held;
}

}  // namespace

TEST_CASE("a frame is loaded once and then found") {
  FrameCache cache(16 * kMiB);
  int loads = 0;
  for (int i = 0; i < 3; ++i) {
    const auto frame = cache.get(digest_of(1), [&] {
      ++loads;
      return frame_of(1, 1000);
    });
    CHECK(frame->bytes.size() == 1000);
  }
  CHECK(loads == 1);
  CHECK(holds(cache, digest_of(1)));
  CHECK_FALSE(holds(cache, digest_of(2)));
}

TEST_CASE("the cache never holds more than it may, and keeps what was used last") {
  FrameCache cache(4 * kMiB);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    (void)cache.get(digest_of(i), [&] { return frame_of(i, 64 * kKiB); });
    (void)holds(cache, digest_of(0));
    REQUIRE(cache.statistics().bytes <= 4 * kMiB);
  }
  CHECK(holds(cache, digest_of(0)));
  CHECK(holds(cache, digest_of(999)));
  CHECK_FALSE(holds(cache, digest_of(1)));
  const auto huge = cache.get(digest_of(5000), [&] { return frame_of(1, 8 * kMiB); });
  CHECK(huge->bytes.size() == 8 * kMiB);
  CHECK_FALSE(holds(cache, digest_of(5000)));
}

TEST_CASE("of many who ask at once one loads, and a failed load is told to all and tried again") {
  FrameCache cache(16 * kMiB);
  std::atomic<int> loads{0};
  std::atomic<int> failures{0};
  const auto ask = [&](bool fail) {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        try {
          (void)cache.get(digest_of(1), [&]() -> FramePtr {
            ++loads;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            if (fail) throw std::runtime_error("no");
            return frame_of(1, 10);
          });
        } catch (const std::runtime_error&) {
          ++failures;
        }
      });
    }
  };
  ask(true);
  CHECK(failures == 8);
  CHECK(loads < 8);
  loads = 0;
  ask(false);
  CHECK(loads == 1);
}

TEST_CASE("what several boots read outlives a copy of a large image") {
  constexpr std::size_t kFrameBytes = 64 * kKiB;
  constexpr std::uint32_t kBoot = 300;      // 19 MiB
  constexpr std::uint32_t kCopied = 20000;  // 1.2 GiB
  FrameCache cache(64 * kMiB);
  pass_over(cache, 0, kBoot, kFrameBytes);
  pass_over(cache, 100'000, 200, kFrameBytes);  // something else between two boots
  pass_over(cache, 0, kBoot, kFrameBytes);
  pass_over(cache, 200'000, kCopied, kFrameBytes);
  CHECK(count_held(cache, 0, kBoot) >= kBoot * 9 / 10);
  CHECK(cache.statistics().bytes <= 64 * kMiB);
}

TEST_CASE("a set that is no longer used makes room for the next") {
  constexpr std::size_t kFrameBytes = 64 * kKiB;
  FrameCache cache(16 * kMiB);
  for (int boot = 0; boot < 5; ++boot) pass_over(cache, 0, 200, kFrameBytes);
  for (int boot = 0; boot < 10; ++boot) pass_over(cache, 1000, 200, kFrameBytes);
  CHECK(count_held(cache, 1000, 200) >= 190);
}

TEST_CASE("frames that are found stay readable while others push them out") {
  constexpr std::uint32_t kFrames = 400;
  constexpr std::size_t kFrameBytes = 16 * kKiB;
  FrameCache cache(2 * kMiB);  // holds a third of them
  std::atomic<bool> wrong{false};
  const auto read = [&](std::uint32_t seed) {
    for (std::uint32_t i = 0; i < 40'000; ++i) {
      const std::uint32_t number = (seed + i * 7919) % kFrames;
      {
        const FrameCache::ReadGuard guard;
        if (const DecodedFrame* frame = cache.find(guard, digest_of(number))) {
          const std::byte expected = static_cast<std::byte>(number);
          if (frame->bytes.front() != expected || frame->bytes.back() != expected) wrong = true;
          continue;
        }
      }
      (void)cache.get(digest_of(number), [&] { return frame_of(number, kFrameBytes); });
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t i = 0; i < 4; ++i) threads.emplace_back(read, i * 97);
  }
  CHECK_FALSE(wrong);
  CHECK(cache.statistics().bytes <= 2 * kMiB);
  CHECK(cache.statistics().evictions > 0);
}
