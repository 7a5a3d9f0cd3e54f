// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/error.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "tests/support/fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const vmpack::Bytes bytes(std::as_bytes(std::span(data, size)).begin(),
                            std::as_bytes(std::span(data, size)).end());
  const auto attempt = [](auto decode) {
    try {
      decode();
    } catch (const vmpack::Error&) {
    }
  };
  attempt([&] { static_cast<void>(vmpack::decode_file_table_page(bytes, "fuzz")); });
  attempt([&] { static_cast<void>(vmpack::decode_file_table_root(bytes, "fuzz")); });
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  FileRecord record;
  record.entry.path = "/etc/fstab";
  record.entry.extents = {{0, 4096, 4096}};
  record.content = sha256(Bytes(1));
  Bytes page;
  const FileTableVolume volume = build_file_table(0, std::span(&record, 1), [&](Bytes bytes) {
    page = std::move(bytes);
    return FrameDigest(sha256(page));
  });
  return {page, encode(FileTableRoot{{volume}, 1})};
}
