// SPDX-License-Identifier: Apache-2.0
// What a fuzz target defines. It is run by libFuzzer (preset fuzz), and by a plain replay program everywhere
// else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "libvmpack/base/bytes.hpp"

/// Feeds `data` to the code under test. Catches vmpack::Error: a refusal is a good answer. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace vmpack::test {

/// Good inputs to start from, made by the current code so that they cannot grow stale. May be empty.
[[nodiscard]] std::vector<Bytes> fuzz_seeds();

}  // namespace vmpack::test
