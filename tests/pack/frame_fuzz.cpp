// SPDX-License-Identifier: Apache-2.0
// Frames whose digest is right and whose content is anything: what a hostile writer could store.
#include "libvmpack/base/error.hpp"
#include "libvmpack/pack/frame.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/random_bytes.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto stored = std::as_bytes(std::span(data, size));
  try {
    static_cast<void>(vmpack::decode_frame(stored, vmpack::FrameDigest(vmpack::sha256(stored)), "fuzz"));
  } catch (const vmpack::Error&) {
  }
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  return {encode_frame(ObjectClass::kText, 1, Bytes(3000), 3).stored,
          encode_frame(ObjectClass::kOpaque, 2, random_bytes(1, 1024), 3).stored};
}
