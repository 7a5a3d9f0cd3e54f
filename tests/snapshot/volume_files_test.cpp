// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/volume_files.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "tests/snapshot/page_store.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using vmpack::test::error_of;
using vmpack::test::file_record;
using vmpack::test::PageStore;

namespace {

FileRecord folder(std::string path) {
  FileRecord file = file_record(std::move(path), 0);
  file.entry.type = FileType::kDirectory;
  return file;
}

FileRecord link(std::string path, std::string target) {
  FileRecord file = file_record(std::move(path), 0);
  file.entry.type = FileType::kSymlink;
  file.entry.target = std::move(target);
  return file;
}

std::vector<std::string> paths_in(const VolumeFiles& files, std::string_view path, bool all_below) {
  std::vector<std::string> paths;
  for_each_in(files, path, all_below, [&](FileRecord file) { paths.push_back(file.entry.path); });
  return paths;
}

using Paths = std::vector<std::string>;

struct Volume {
  PageStore store;
  VolumeFiles files;

  Volume() {
    std::vector<FileRecord> all = {folder("/"),
                                   folder("/etc"),
                                   file_record("/etc/fstab", 1),
                                   link("/etc/release", "../usr/lib/release"),
                                   file_record("/etc-backup", 2),
                                   folder("/usr"),
                                   folder("/usr/lib"),
                                   file_record("/usr/lib/release", 3),
                                   link("/lib", "usr/lib"),
                                   link("/abs", "/usr/lib"),
                                   link("/circle", "circle"),
                                   link("/nowhere", "/boot/vmlinuz")};
    for (int i = 0; i < 5000; ++i) all.push_back(file_record(fmt::format("/usr/share/doc/{:04}", i), i + 10));
    all.push_back(folder("/usr/share"));
    all.push_back(folder("/usr/share/doc"));
    all.push_back(folder("/usr/src"));
    files = store.add(all);
  }

  [[nodiscard]] std::string follow(std::string_view path, bool follow_last = true) const {
    const auto found = follow_path(files, path, follow_last);
    return found ? found->entry.path : "";
  }
};

}  // namespace

TEST_CASE("a file is found by its path in one page") {
  Volume volume;
  CHECK(find_file(volume.files, "/usr/share/doc/4321")->entry.path == "/usr/share/doc/4321");
  CHECK(volume.store.pages_read == 1);
  for (const char* path : {"", "/nothing", "/usr/share/doc/99999", "/zzz", "/etc/"}) {
    CHECK_FALSE(find_file(volume.files, path));
  }
  CHECK_FALSE(find_file({}, "/"));
}

TEST_CASE("a folder's contents are listed without those of others") {
  Volume volume;
  CHECK(paths_in(volume.files, "/etc", false) == Paths{"/etc/fstab", "/etc/release"});
  CHECK(paths_in(volume.files, "/etc", true) == paths_in(volume.files, "/etc/", false));
  CHECK(paths_in(volume.files, "/usr/src", true).empty());
  volume.store.pages_read = 0;
  CHECK(paths_in(volume.files, "/usr", false) == Paths{"/usr/lib", "/usr/share", "/usr/src"});
  CHECK(volume.store.pages_read <= 3);  // and not all of /usr/share/doc
  CHECK(paths_in(volume.files, "/usr", true).size() == 5005);
  CHECK(paths_in(volume.files, "/", false) ==
        Paths{"/abs", "/circle", "/etc", "/etc-backup", "/lib", "/nowhere", "/usr"});
  CHECK(paths_in(volume.files, "/", true).size() == 5014);
}

TEST_CASE("symlinks are followed within the volume") {
  const Volume volume;
  CHECK(volume.follow("/etc/release") == "/usr/lib/release");
  CHECK(volume.follow("/etc/release", false) == "/etc/release");
  CHECK(volume.follow("/lib/release", false) == "/usr/lib/release");
  CHECK(volume.follow("/lib") == "/usr/lib");
  CHECK(volume.follow("/lib", false) == "/lib");
  CHECK(volume.follow("/abs/release") == "/usr/lib/release");
  CHECK(volume.follow("//etc/./../etc//fstab") == "/etc/fstab");
  CHECK(volume.follow("/../../etc") == "/etc");
  CHECK(volume.follow("/") == "/");
  CHECK(volume.follow("/etc/..") == "/");
  CHECK(volume.follow("/lib/..") == "/usr");
  CHECK(volume.follow("/nothing").empty());
}

TEST_CASE("a symlink that leads nowhere is named with its target") {
  const Volume volume;
  const Error nowhere = error_of([&] { (void)volume.follow("/nowhere"); });
  CHECK(nowhere.code() == ErrorCode::kNotFound);
  CHECK_THAT(nowhere.what(), Catch::Contains("/nowhere") && Catch::Contains("/boot/vmlinuz"));
  CHECK_THAT(error_of([&] { (void)volume.follow("/circle"); }).what(), Catch::Contains("circle"));
  CHECK(volume.follow("/nowhere", false) == "/nowhere");
}

TEST_CASE("of hard links the one with the content is found") {
  PageStore store;
  std::vector<FileRecord> all = {file_record("/a", 1), file_record("/b", 0), file_record("/c", 2)};
  all[0].entry.inode = all[1].entry.inode = 7;
  all[2].entry.inode = 8;
  const VolumeFiles files = store.add(all);
  CHECK(find_with_extents(files, 7)->entry.path == "/a");
  CHECK_FALSE(find_with_extents(files, 9));
}
