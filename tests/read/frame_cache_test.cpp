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
  CHECK(cache.find(digest_of(1)));
  CHECK_FALSE(cache.find(digest_of(2)));
}

TEST_CASE("the cache never holds more than it may, and keeps what was used last") {
  FrameCache cache(4 * kMiB);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    (void)cache.get(digest_of(i), [&] { return frame_of(i, 64 * kKiB); });
    (void)cache.find(digest_of(0));
    REQUIRE(cache.statistics().bytes <= 4 * kMiB);
  }
  CHECK(cache.find(digest_of(0)));
  CHECK(cache.find(digest_of(999)));
  CHECK_FALSE(cache.find(digest_of(1)));
  const auto huge = cache.get(digest_of(5000), [&] { return frame_of(1, 8 * kMiB); });
  CHECK(huge->bytes.size() == 8 * kMiB);
  CHECK_FALSE(cache.find(digest_of(5000)));
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
