// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_table.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <map>

#include "tests/support/require_error.hpp"

using namespace vmpack;

namespace {

std::vector<FileRecord> some_files(int count) {
  std::vector<FileRecord> files;
  for (int i = 0; i < count; ++i) {
    FileRecord file;
    file.entry.path = fmt::format("/usr/share/{:05}", i);
    file.entry.type = FileType::kRegular;
    file.entry.mode = 0644;
    file.entry.modified_ns = -5 + i;
    file.entry.size = 4096 + static_cast<std::uint64_t>(i);
    file.entry.extents = {{0, 4096 * static_cast<std::uint64_t>(i), 8192}};
    if (i % 2 == 0) file.content = sha256(struct_bytes(i));
    files.push_back(std::move(file));
  }
  return files;
}

struct Pages {
  std::map<FrameDigest, Bytes> kept;
  StoreFileTablePage store() {
    return [this](Bytes page) {
      const FrameDigest digest(sha256(page));
      kept.insert_or_assign(digest, std::move(page));
      return digest;
    };
  }
};

}  // namespace

TEST_CASE("files come back from the table as they went in") {
  const auto files = some_files(2000);
  Pages pages;
  const FileTableVolume built = build_file_table(3, files, pages.store());
  const FileTableRoot root = decode_file_table_root(encode(FileTableRoot{{built}, 2000}), "root");
  REQUIRE(root.volumes.size() == 1);
  CHECK(root.volumes[0].volume == 3);
  std::size_t at = 0;
  for (const FileTablePage& page : root.volumes[0].pages) {
    const auto records = decode_file_table_page(pages.kept.at(page.frame), "page");
    REQUIRE(records.size() == page.file_count);
    CHECK(records.front().entry.path == page.first_path);
    for (const FileRecord& record : records) {
      REQUIRE(record.entry.path == files[at].entry.path);
      CHECK(record.entry.modified_ns == files[at].entry.modified_ns);
      CHECK(record.entry.size == files[at].entry.size);
      CHECK(record.content == files[at].content);
      CHECK(record.entry.extents.at(0).disk_offset == files[at].entry.extents[0].disk_offset);
      ++at;
    }
  }
  CHECK(at == files.size());
}

TEST_CASE("one file more changes one page or two, not all behind it") {
  auto files = some_files(5000);
  Pages pages;
  (void)build_file_table(0, files, pages.store());
  const std::size_t before = pages.kept.size();
  FileRecord more = files[1000];
  more.entry.path += "a";
  files.insert(files.begin() + 1001, more);
  (void)build_file_table(0, files, pages.store());
  CHECK(pages.kept.size() <= before + 2);
  CHECK(before > 20);
}
