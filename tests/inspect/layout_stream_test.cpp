// SPDX-License-Identifier: Apache-2.0
// The child's report: what is written is read again, cut anywhere, and nothing else is accepted.
#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/support/require_error.hpp"

namespace vmpack::test {
namespace {

constexpr ByteRange kRange{1 * kMiB, 64 * kMiB};
using Expect = LayoutStreamReader::Expect;

Bytes stream(const std::function<void(LayoutStreamWriter&)>& tell) {
  Bytes bytes;
  LayoutStreamWriter writer([&bytes](ByteView part) { append(bytes, part); });
  tell(writer);
  return bytes;
}

Volume read(ByteView bytes, std::size_t step = SIZE_MAX) {
  LayoutStreamReader reader(Expect::kVolume, kRange);
  while (!bytes.empty()) {
    const ByteView part = bytes.first(std::min(step, bytes.size()));
    if (reader.feed(part) != part.size()) FAIL("the reader took less than it was given");
    bytes = bytes.subspan(part.size());
  }
  REQUIRE(reader.ended());
  Layout layout = reader.take();
  REQUIRE(layout.volumes.size() == 1);
  return std::move(layout.volumes.front());
}

FileEntry file(std::string path, std::vector<FileExtent> extents = {}) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = FileType::kRegular;
  entry.mode = 0644;
  entry.inode = 12;
  entry.size = extents.empty() ? 0 : extents.back().file_offset + extents.back().length;
  entry.extents = std::move(extents);
  return entry;
}

Error refusal(const std::function<void(LayoutStreamWriter&)>& tell) {
  return error_of([&tell] { static_cast<void>(read(stream(tell))); });
}

Error refusal_of_file(const FileEntry& entry) {
  return refusal([&entry](LayoutStreamWriter& out) {
    out.file_system({});
    out.file(entry);
    out.end(true);
  });
}

}  // namespace

TEST_CASE("a volume's report is read as it was written, wherever it is cut") {
  std::vector<FileExtent> many;
  constexpr std::size_t kMany = 40'000;
  for (std::uint64_t i = 0; i < kMany; ++i) many.push_back({i * 2048, kRange.offset + i * 1024, 512});
  const Bytes bytes = stream([&many](LayoutStreamWriter& out) {
    Volume volume;
    volume.type = "ext4";
    volume.label = "root";
    volume.uuid = "u";
    volume.block_bytes = 4096;
    volume.dirty = true;
    out.file_system(volume, 3);
    out.file(file("/"));
    out.file(file("/many", many));
    FileEntry link = file("/z");
    link.type = FileType::kSymlink;
    link.target = "over/there";
    link.modified_ns = -1;
    out.file(link);
    out.free({kRange.offset + 1024, 512});
    out.free({kRange.end() - 512, 512});
    out.warning("so so");
    out.end(true);
  });
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, SIZE_MAX}) {
    const Volume volume = read(bytes, step);
    CHECK(volume.type == "ext4");
    CHECK(volume.label == "root");
    CHECK(volume.block_bytes == 4096);
    CHECK(volume.dirty);
    CHECK(volume.inspected);
    CHECK(volume.warning == "so so");
    REQUIRE(volume.files.size() == 3);
    CHECK(volume.files[1].extents.size() == kMany);
    CHECK(volume.files[1].extents.back().disk_offset == many.back().disk_offset);
    CHECK(volume.files[2].target == "over/there");
    CHECK(volume.files[2].modified_ns == -1);
    CHECK(volume.free == std::vector<ByteRange>{{kRange.offset + 1024, 512}, {kRange.end() - 512, 512}});
  }
}

TEST_CASE("pieces of a volume are read in its own order, and refused outside the image or its sectors") {
  const std::vector<ByteRange> pieces = {{kRange.end() - 1024, 1024}, {kRange.offset, 512}};
  const auto with = [](const std::vector<ByteRange>& told) {
    return stream([&told](LayoutStreamWriter& out) {
      for (const ByteRange& piece : told) out.piece(piece);
      out.file_system({});
      out.end(false);
    });
  };
  CHECK(read(with(pieces)).pieces == pieces);
  for (const ByteRange bad :
       {ByteRange{kRange.offset - 512, 512}, ByteRange{kRange.end(), 512}, ByteRange{kRange.offset, 0},
        ByteRange{kRange.offset, 511}, ByteRange{kRange.offset + 1, 512},
        ByteRange{kRange.offset, UINT64_MAX - 511}}) {
    CHECK(error_of([&] { static_cast<void>(read(with({bad}))); }).code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("the reader stops at the end of a stream and leaves the next one alone") {
  Bytes bytes = stream([](LayoutStreamWriter& out) { out.end(false); });
  const std::size_t first = bytes.size();
  append(bytes, Bytes(100));
  LayoutStreamReader reader(Expect::kVolume, kRange);
  CHECK(reader.feed(bytes) == first);
  CHECK(reader.ended());
  CHECK(reader.feed(bytes) == 0);
}

TEST_CASE("texts for people are made safe to show") {
  const Volume volume = read(stream([](LayoutStreamWriter& out) {
    Volume told;
    told.label = "\x1b[2J\xff";
    out.file_system(told);
    out.warning("\x1b[31m");
    out.end(false);
  }));
  CHECK(volume.label.find('\x1b') == std::string::npos);
  CHECK(volume.warning.find('\x1b') == std::string::npos);
}

TEST_CASE("paths that are none are refused") {
  for (const std::string& path : {std::string(), std::string("a"), std::string("/a/"), std::string("//a"),
                                  std::string("/.."), std::string("/a/../b"), std::string("/./a"),
                                  std::string("/a\0b", 4), "/" + std::string(limits::kPathBytesMax, 'x')}) {
    INFO(path);
    CHECK(refusal_of_file(file(path)).code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("extents outside the volume, outside the file or out of order are refused") {
  const std::uint64_t start = kRange.offset;
  CHECK(refusal_of_file(file("/a", {{0, start - 1, 512}})).code() == ErrorCode::kDamaged);
  CHECK(refusal_of_file(file("/a", {{0, kRange.end() - 511, 512}})).code() == ErrorCode::kDamaged);
  CHECK(refusal_of_file(file("/a", {{0, ~std::uint64_t{0}, 512}})).code() == ErrorCode::kDamaged);
  CHECK(refusal_of_file(file("/a", {{0, start, 0}})).code() == ErrorCode::kDamaged);
  CHECK(refusal_of_file(file("/a", {{512, start, 512}, {0, start, 1024}})).code() == ErrorCode::kDamaged);
  FileEntry small = file("/a", {{0, start, 512}});
  small.size = 511;
  CHECK(refusal_of_file(small).code() == ErrorCode::kDamaged);
}

TEST_CASE("paths and free ranges out of order are refused") {
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.file(file("/b"));
          out.file(file("/a"));
          out.end(true);
        }).code() == ErrorCode::kDamaged);
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.file(file("/a"));
          out.file(file("/a"));
          out.end(true);
        }).code() == ErrorCode::kDamaged);
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.free({kRange.offset + 512, 1024});
          out.free({kRange.offset + 1024, 1024});
          out.end(true);
        }).code() == ErrorCode::kDamaged);
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.free({kRange.end(), 512});
          out.end(true);
        }).code() == ErrorCode::kDamaged);
}

TEST_CASE("a report with files of a volume that was not read is refused") {
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.file(file("/a"));
          out.end(false);
        }).code() == ErrorCode::kDamaged);
}

TEST_CASE("records of the other kind of report are refused") {
  CHECK(refusal([](LayoutStreamWriter& out) {
          out.table("gpt", "");
          out.end(true);
        }).code() == ErrorCode::kDamaged);
}

TEST_CASE("a record that claims more than the limit is refused before memory is taken") {
  LayoutStreamReader reader(Expect::kVolume, kRange);
  const layout_stream::RecordHeader header{4, layout_stream::kRecordBytesMax + 1};
  CHECK(error_of([&] { reader.feed(struct_bytes(header)); }).code() == ErrorCode::kDamaged);
}

TEST_CASE("more partitions than the limit are refused") {
  const Bytes bytes = stream([](LayoutStreamWriter& out) {
    out.table("gpt", "");
    for (std::uint32_t i = 0; i <= limits::kVolumesMax; ++i) {
      out.partition({.range = {kRange.offset + i * 512, 512}, .number = i});
    }
    out.end(true);
  });
  LayoutStreamReader reader(Expect::kTable, kRange);
  CHECK(error_of([&] { reader.feed(bytes); }).code() == ErrorCode::kLimit);
}

}  // namespace vmpack::test
