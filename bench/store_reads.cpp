// SPDX-License-Identifier: Apache-2.0
// How long reads of 64 KiB at random places take in a store: vmpack-store-reads LOCATION fill|read [SEED].
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string_view>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/store/store.hpp"
#include "libvmpack/store/text.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::uint64_t kValues = 8;
constexpr std::uint64_t kValueBytes = 64 * kMiB;
constexpr std::size_t kReadBytes = 64 * kKiB;
constexpr std::size_t kReads = 2000;

std::string key_of(std::uint64_t number) { return fmt::format("packs/{}", number); }

void fill(Store& store) {
  for (std::uint64_t i = 0; i < kValues; ++i) store.put_if_absent(key_of(i), random_bytes(i, kValueBytes));
}

// One after the other, as a guest reads; microseconds, sorted.
std::vector<double> read_times(Store& store, std::uint64_t seed) {
  Random random(seed);
  Bytes into(kReadBytes);
  std::vector<double> times;
  for (std::size_t i = 0; i < kReads; ++i) {
    const std::string key = key_of(random.below(kValues));
    const std::uint64_t offset = random.below(kValueBytes / kReadBytes) * kReadBytes;
    const auto began = std::chrono::steady_clock::now();
    store.get_range(key, offset, into);
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count());
  }
  std::ranges::sort(times);
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[2] : "";
  if (argc > 4 || (what != "fill" && what != "read")) {
    fmt::print(stderr, "usage: vmpack-store-reads LOCATION fill|read [SEED]\n");
    return 2;
  }
  try {
    const std::unique_ptr<Store> store = open_store(argv[1]);
    if (what == "fill") {
      fill(*store);
      return 0;
    }
    const std::vector<double> times =
        read_times(*store, parse_number<std::uint64_t>(argc > 3 ? argv[3] : "1").value_or(1));
    fmt::print("{{\"p50_us\": {:.1f}, \"p99_us\": {:.1f}}}\n", times[times.size() / 2],
               times[times.size() * 99 / 100]);
  } catch (const Error& error) {
    fmt::print(stderr, "vmpack-store-reads: {}\n", error.what());
    return 1;
  }
  return 0;
}
