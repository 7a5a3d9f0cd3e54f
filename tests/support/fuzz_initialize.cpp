// SPDX-License-Identifier: Apache-2.0
// Gives libFuzzer the target's seeds as files, before it reads its corpus.
#include <fmt/core.h>

#include <cstdlib>

#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("VMPACK_FUZZ_SEEDS_TO"); folder != nullptr) {
    const auto seeds = vmpack::test::fuzz_seeds();
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      vmpack::test::write_file(fmt::format("{}/seed-{}", folder, i), seeds[i]);
    }
  }
  return 0;
}
