// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/error.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "tests/support/fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const vmpack::Bytes bytes(std::as_bytes(std::span(data, size)).begin(),
                            std::as_bytes(std::span(data, size)).end());
  const vmpack::MapRoot root{vmpack::kGiB, vmpack::kMiB, 256, {}};
  const auto attempt = [](auto decode) {
    try {
      decode();
    } catch (const vmpack::Error&) {
    }
  };
  attempt([&] { static_cast<void>(vmpack::decode_map_page(bytes, root, "fuzz")); });
  attempt([&] { static_cast<void>(vmpack::decode_map_directory(bytes, root, "fuzz")); });
  attempt([&] { static_cast<void>(vmpack::decode_map_root(bytes, "fuzz")); });
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  const FrameDigest frame(sha256(Bytes(1)));
  return {encode(MapPage{{frame, frame}, {{0, 8, 0, 0}, {8, 8, 1, 512}}}),
          encode(MapDirectory{{{0, frame}, {9, frame}}}), encode(MapRoot{kGiB, kMiB, 256, {{1, frame}}})};
}
