// SPDX-License-Identifier: Apache-2.0
// Frames whose digest is right and whose content is anything: what a hostile writer could store.
#include "libvmpack/base/error.hpp"
#include "libvmpack/pack/frame.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/random_bytes.hpp"

namespace {

using namespace vmpack;

/// What every delta frame of the seeds stands on.
const FrameBase& base() {
  static const FrameBase kBase = [] {
    const EncodedFrame frame = encode_frame(ObjectClass::kText, 1, test::random_bytes(5, 4096), 3);
    return FrameBase{frame.digest, decode_frame(frame.stored, frame.digest, "a base")};
  }();
  return kBase;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto stored = std::as_bytes(std::span(data, size));
  try {
    static_cast<void>(vmpack::decode_frame(stored, vmpack::FrameDigest(vmpack::sha256(stored)), "fuzz",
                                           [](const vmpack::FrameDigest&) { return base().frame; }));
  } catch (const vmpack::Error&) {
  }
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  return {encode_delta_frame(ObjectClass::kText, 1, random_bytes(5, 3072), 3, std::span(&base(), 1)).stored,
          encode_frame(ObjectClass::kText, 1, Bytes(3000), 3).stored,
          encode_frame(ObjectClass::kOpaque, 2, random_bytes(1, 1024), 3).stored};
}
