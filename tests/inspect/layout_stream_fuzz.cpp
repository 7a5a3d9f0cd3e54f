// SPDX-License-Identifier: Apache-2.0
// Whatever a child reports, the reader takes it or throws Error, and what it takes lies inside the volume.
#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/support/fuzz.hpp"

namespace {

using namespace vmpack;

constexpr ByteRange kRange{1 * kMiB, 64 * kMiB};

void check_inside(std::uint64_t offset, std::uint64_t length) {
  VMPACK_ASSERT(offset >= kRange.offset && length <= kRange.length &&
                offset - kRange.offset <= kRange.length - length);
}

void check(const Layout& layout) {
  std::uint64_t covered = 0;
  for (const Volume& volume : layout.volumes) {
    if (volume.range.length > 0) check_inside(volume.range.offset, volume.range.length);
    VMPACK_ASSERT(volume.range.offset >= covered);
    covered = volume.range.end();
    for (const ByteRange& piece : volume.pieces) check_inside(piece.offset, piece.length);
    for (const ByteRange& free : volume.free) check_inside(free.offset, free.length);
    for (const FileEntry& entry : volume.files) {
      VMPACK_ASSERT(entry.path.starts_with('/'));
      for (const FileExtent& extent : entry.extents) check_inside(extent.disk_offset, extent.length);
    }
  }
}

void read(LayoutStreamReader::Expect expect, ByteView bytes, std::size_t step) {
  try {
    LayoutStreamReader reader(expect, kRange);
    while (!bytes.empty() && !reader.ended()) {
      const ByteView part = bytes.first(std::min(step, bytes.size()));
      bytes = bytes.subspan(reader.feed(part));
    }
    if (reader.ended()) check(reader.take());
  } catch (const Error&) {
    // A refusal.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes = std::as_bytes(std::span(data, size));
  for (const auto expect : {LayoutStreamReader::Expect::kTable, LayoutStreamReader::Expect::kVolume}) {
    read(expect, bytes, bytes.size());
    read(expect, bytes, 13);
  }
  return 0;
}

namespace vmpack::test {

std::vector<Bytes> fuzz_seeds() {
  std::vector<Bytes> seeds(2);
  LayoutStreamWriter table([&seeds](ByteView part) { append(seeds[0], part); });
  table.table("gpt", "11111111-2222-3333-4444-555555555555");
  table.partition(
      {.range = {kRange.offset, 1 * kMiB}, .number = 1, .type = "bios-boot", .partition_type = "type"});
  table.partition({.range = {kRange.offset + 2 * kMiB, 60 * kMiB}, .number = 2});
  table.warning("partition 3 lies outside");
  table.end(true);

  LayoutStreamWriter volume([&seeds](ByteView part) { append(seeds[1], part); });
  Volume facts;
  facts.type = "ext4";
  facts.block_bytes = 4096;
  volume.piece({kRange.offset + 32 * kMiB, 8 * kMiB});
  volume.piece(kRange);
  volume.file_system(facts, 2);
  FileEntry entry;
  entry.path = "/";
  entry.type = FileType::kDirectory;
  volume.file(entry);
  entry.path = "/file";
  entry.type = FileType::kRegular;
  entry.size = 8000;
  entry.extents = {{0, kRange.offset + 4096, 4096}, {4096, kRange.offset + 65536, 3904}};
  volume.file(entry);
  volume.free({kRange.offset + 1 * kMiB, 4096});
  volume.free({kRange.offset + 2 * kMiB, 8192});
  volume.warning("a damaged directory");
  volume.end(true);
  return seeds;
}

}  // namespace vmpack::test
