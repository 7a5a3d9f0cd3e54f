// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_diff.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "tests/snapshot/page_store.hpp"

using namespace vmpack;
using vmpack::test::file_record;
using vmpack::test::PageStore;

namespace {

constexpr unsigned kThreads = 1;

FileDiff diff(const std::vector<FileRecord>& before, const std::vector<FileRecord>& after,
              const SameBytes& same_bytes = {}) {
  PageStore store;
  return diff_files({{store.add(before), store.add(after)}}, same_bytes, kThreads);
}

/// "changed /path", ...
std::vector<std::string> told(const FileDiff& diff) {
  std::vector<std::string> lines;
  for (const FileDifference& difference : diff.differences) {
    constexpr std::array<std::string_view, 4> kFates{"added", "removed", "changed", "moved"};
    lines.push_back(
        fmt::format("{} {}", kFates[static_cast<std::size_t>(difference.fate)], difference.entry().path));
  }
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("files that are the same are not told of") {
  const std::vector<FileRecord> files = {file_record("/a", 1), file_record("/b", 2)};
  CHECK(told(diff(files, files)).empty());
  CHECK(told(diff({}, {})).empty());
}

TEST_CASE("added, removed and changed files are told in the order of their paths") {
  const FileDiff found = diff({file_record("/a", 1), file_record("/b", 2), file_record("/c", 3, 100)},
                              {file_record("/0", 4), file_record("/a", 1), file_record("/c", 3, 200)});
  CHECK(told(found) == Lines{"added /0", "removed /b", "changed /c"});
  CHECK(found.differences[2].changes.content);
  CHECK(found.differences[2].before->entry.size == 100);
  CHECK(found.differences[2].after->entry.size == 200);
}

TEST_CASE("mode, owner, type and where a link leads are told apart") {
  std::vector<FileRecord> before;
  for (const char* path : {"/group", "/link", "/mode", "/type", "/user"})
    before.push_back(file_record(path, 1));
  before[1].entry.type = FileType::kSymlink;
  before[1].entry.target = "here";
  std::vector<FileRecord> after = before;
  after[0].entry.gid = 7;
  after[1].entry.target = "there";
  after[2].entry.mode = 04755;
  after[3].entry.type = FileType::kDirectory;
  after[4].entry.uid = 7;
  const FileDiff found = diff(before, after);
  REQUIRE(told(found) ==
          Lines{"changed /group", "changed /link", "changed /mode", "changed /type", "changed /user"});
  CHECK((found.differences[0].changes.owner && !found.differences[0].changes.content));
  CHECK((found.differences[1].changes.content && !found.differences[1].changes.type));
  CHECK((found.differences[2].changes.mode && !found.differences[2].changes.owner));
  CHECK((found.differences[3].changes.type && !found.differences[3].changes.content));
  CHECK(found.differences[4].changes.owner);
}

TEST_CASE("files with another time alone are only counted") {
  std::vector<FileRecord> after = {file_record("/a", 1), file_record("/b", 2), file_record("/c", 3)};
  const std::vector<FileRecord> before = after;
  after[0].entry.modified_ns = 2;
  after[2].entry.modified_ns = 2;
  after[2].content = before[0].content;
  const FileDiff found = diff(before, after);
  CHECK(told(found) == Lines{"changed /c"});
  CHECK(found.retimed == 1);
}

TEST_CASE("a file moved when just one of its content went and came") {
  FileRecord moved = file_record("/new/name", 1);
  moved.entry.mode = 0600;
  const FileDiff found =
      diff({file_record("/old/name", 1), file_record("/same", 2)}, {moved, file_record("/same", 2)});
  REQUIRE(told(found) == Lines{"moved /new/name"});
  CHECK(found.differences[0].before->entry.path == "/old/name");
  CHECK(found.differences[0].changes.mode);
  CHECK_FALSE(found.differences[0].changes.content);

  CHECK(told(diff({file_record("/1", 1), file_record("/2", 1)}, {file_record("/3", 1)})) ==
        Lines{"removed /1", "removed /2", "added /3"});
  CHECK(told(diff({file_record("/1", 1, 0)}, {file_record("/2", 1, 0)})) == Lines{"removed /1", "added /2"});
  CHECK(told(diff({file_record("/1", 0)}, {file_record("/2", 0)})) == Lines{"removed /1", "added /2"});
}

TEST_CASE("a further hard link has the content of the first") {
  const auto linked = [](int content, std::int64_t time) {
    std::vector<FileRecord> files = {file_record("/first", content), file_record("/second", 0)};
    for (FileRecord& file : files) {
      file.entry.inode = 12;
      file.entry.modified_ns = time;
    }
    return files;
  };
  CHECK(told(diff(linked(1, 1), linked(1, 2))).empty());
  const FileDiff found = diff(linked(1, 1), linked(2, 1));
  CHECK(told(found) == Lines{"changed /first", "changed /second"});
  CHECK(found.differences[1].changes.content_sure);
}

TEST_CASE("of content without a digest the time has to tell, and the result says so") {
  std::vector<FileRecord> after = {file_record("/a", 0), file_record("/b", 0)};
  const std::vector<FileRecord> before = after;
  after[0].entry.modified_ns = 2;
  const FileDiff found = diff(before, after);
  REQUIRE(told(found) == Lines{"changed /a"});
  CHECK_FALSE(found.differences[0].changes.content_sure);
}

TEST_CASE("bytes decide where only the holes of a file may differ") {
  const FileRecord before = file_record("/sparse", 1, 8192);
  FileRecord after = file_record("/sparse", 2, 8192);
  int asked = 0;
  const auto same = [&](const FileRecord&, const FileRecord&) {
    ++asked;
    return true;
  };
  CHECK(told(diff({before}, {after}, same)) == Lines{"changed /sparse"});
  CHECK(asked == 0);  // data in the same places: other digests are other bytes
  after.entry.extents = {{0, 4096, 4096}};
  CHECK(told(diff({before}, {after}, same)).empty());
  CHECK(asked == 1);
  CHECK(told(diff({before}, {after})) == Lines{"changed /sparse"});
}

TEST_CASE("pages that both have are not read") {
  std::vector<FileRecord> before;
  for (int i = 0; i < 20'000; ++i) before.push_back(file_record(fmt::format("/usr/{:05}", i), i + 1));
  std::vector<FileRecord> after = before;
  after[10'000].content.reset();
  after[10'000].entry.size = 1;
  after.push_back(file_record("/usr/zzz", 7));
  PageStore store;
  const FileDiff found = diff_files({{store.add(before), store.add(after)}}, {}, kThreads);
  CHECK(told(found) == Lines{"changed /usr/10000", "added /usr/zzz"});
  CHECK(store.pages_read <= 4);
}

TEST_CASE("volumes that one image alone has were added or removed as a whole") {
  PageStore store;
  const VolumeFiles files = store.add({file_record("/a", 1), file_record("/b", 2)});
  const FileDiff found = diff_files({{files, {}}, {{}, store.add({file_record("/c", 3)})}}, {}, kThreads);
  CHECK(told(found) == Lines{"removed /a", "removed /b", "added /c"});
  CHECK(found.differences[0].pair == 0);
  CHECK(found.differences[2].pair == 1);
}
