// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/repo/export_file.hpp"
#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/temp_dir.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    static_cast<void>(vmpack::scan_export(
        [&](std::uint64_t offset, vmpack::ByteSpan into) {
          if (offset >= bytes.size()) return std::size_t{0};
          const auto from = bytes.subspan(offset, std::min<std::size_t>(into.size(), bytes.size() - offset));
          std::ranges::copy(from, into.begin());
          return from.size();
        },
        "fuzz"));
  } catch (const vmpack::Error&) {
  }
  return 0;
}

std::vector<vmpack::Bytes> vmpack::test::fuzz_seeds() {
  const TempDir folder;
  const std::string path = folder / "export";
  write_file(path, "");
  {
    const auto file = FileDescriptor::open(path, 1 /* O_WRONLY */);
    ExportWriter writer(file.get(), path);
    writer.put_if_absent(kExportKey, as_byte_view("{}"));
    writer.put_if_absent("packs/ab/abcd.pack", Bytes(100));
    writer.put_if_absent("notes/ab/os/facts.json", Bytes(0));
    writer.finish();
  }
  return {read_file(path)};
}
