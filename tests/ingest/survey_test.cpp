// SPDX-License-Identifier: Apache-2.0
// What an image's objects come to, without storing them.
#include "libvmpack/ingest/survey.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/ingest/largest.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::MemorySource;

namespace {

constexpr std::uint64_t kImageBytes = 8 * kMiB;

FileEntry file_at(std::string path, std::uint64_t offset, std::uint64_t bytes) {
  FileEntry file;
  file.path = std::move(path);
  file.type = FileType::kRegular;
  file.size = bytes;
  file.extents = {{0, offset, round_up(bytes, 4096)}};
  return file;
}

/// Two equal files, another one, and residue; the rest is zero.
struct SmallDisk {
  Bytes bytes = Bytes(kImageBytes);
  Layout layout;

  SmallDisk() {
    layout.image_bytes = kImageBytes;
    Volume volume;
    volume.range = {kMiB, 6 * kMiB};
    volume.number = 1;
    volume.type = "ext4";
    volume.inspected = true;
    volume.free = {{5 * kMiB, kMiB}};
    volume.files = {file_at("/a/deep/one.txt", 2 * kMiB, 60'000), file_at("/a/two.txt", 3 * kMiB, 60'000),
                    file_at("/b", 4 * kMiB, 4096)};
    layout.volumes.push_back(volume);
    put(2 * kMiB, 1, 60'000);
    put(3 * kMiB, 1, 60'000);
    put(4 * kMiB, 2, 4096);
    put(5 * kMiB, 3, 8192);
  }

  void put(std::uint64_t at, std::uint64_t seed, std::size_t count) {
    std::ranges::copy(test::random_bytes(seed, count), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
};

Survey survey_of(const SmallDisk& disk, const Repository* repository = nullptr) {
  MemorySource source(disk.bytes);
  NoProgress progress;
  return survey(source, disk.layout, repository, progress);
}

const ClassSurvey& of(const Survey& survey, ObjectClass object_class) {
  return survey.classes[static_cast<std::size_t>(object_class)];
}

}  // namespace

TEST_CASE("a survey counts what repeats, and says where everything lies") {
  const SmallDisk disk;
  const Survey found = survey_of(disk);
  CHECK(of(found, ObjectClass::kText).all.bytes == 120'000);
  CHECK(of(found, ObjectClass::kText).repeated.bytes == 60'000);
  CHECK(of(found, ObjectClass::kText).repeated.objects == 1);
  CHECK(of(found, ObjectClass::kText).fresh.bytes == 60'000);
  CHECK(of(found, ObjectClass::kFree).all.bytes == 8192);
  CHECK(total(found).all.bytes == 120'000 + 4096 + 8192);
  CHECK(total(found).known.bytes == 0);
  REQUIRE(found.cell_bytes == 8 * kKiB);
  REQUIRE(found.cells.size() == 1024);
  CHECK(found.cells[5 * kMiB / found.cell_bytes][static_cast<std::size_t>(ObjectClass::kFree)] == 8192);
  CHECK(found.cells[0] == BytesByClass{});
  REQUIRE(found.files.size() == 1);
  CHECK(found.files[0][0].bytes == 60'000);
  CHECK(found.files[0][0].fresh_bytes == 60'000);
  CHECK(found.files[0][1].bytes == 60'000);
  CHECK(found.files[0][1].fresh_bytes == 0);
}

TEST_CASE("what a survey calls new is what an ingest adds") {
  const test::TempDir folder;
  const std::shared_ptr<Store> store = open_directory_store(folder.path());
  Repository::init(*store, {});
  const auto repository = Repository::open(store);
  SmallDisk disk;
  NoProgress progress;
  const auto ingest_disk = [&](const std::string& name) {
    MemorySource source(disk.bytes);
    return ingest(repository, source, disk.layout, parse_reference_name(name), {}, progress);
  };
  const Survey before = survey_of(disk, repository.get());
  const IngestResult first = ingest_disk("disk:1");
  CHECK(total(before).fresh.bytes == first.added.bytes_new);
  CHECK(total(before).fresh.objects == first.added.objects_new);
  CHECK(total(before).all.bytes == first.manifest.data_bytes);
  CHECK(total(survey_of(disk, repository.get())).known.bytes == first.manifest.data_bytes);
  CHECK(total(survey_of(disk, repository.get())).fresh.bytes == 0);
  disk.put(4 * kMiB, 9, 4096);
  const Survey changed = survey_of(disk, repository.get());
  CHECK(total(changed).fresh.bytes == 4096);
  CHECK(changed.files[0][2].fresh_bytes == 4096);
  CHECK(ingest_disk("disk:2").added.bytes_new == 4096);
}

TEST_CASE("the largest files and folders come first, with all below them") {
  const SmallDisk disk;
  const Survey found = survey_of(disk);
  const Volume& volume = disk.layout.volumes[0];
  const auto& files = found.files[0];
  CHECK(largest_files(volume, files, &FileSurvey::bytes, 2) ==
        std::vector<SizedPath>{{"/a/deep/one.txt", 60'000}, {"/a/two.txt", 60'000}});
  CHECK(largest_files(volume, files, &FileSurvey::fresh_bytes, 9) ==
        std::vector<SizedPath>{{"/a/deep/one.txt", 60'000}, {"/b", 4096}});
  CHECK(largest_folders(volume, files, &FileSurvey::bytes, 9) ==
        std::vector<SizedPath>{{"/a", 120'000}, {"/a/deep", 60'000}});
  // "/a" has nothing new but that.
  CHECK(largest_folders(volume, files, &FileSurvey::fresh_bytes, 9) ==
        std::vector<SizedPath>{{"/a/deep", 60'000}});
  CHECK(largest_folders(volume, files, &FileSurvey::bytes, 0).empty());
}
