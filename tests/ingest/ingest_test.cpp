// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/ingest.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/read/restore.hpp"
#include "libvmpack/repo/verify.hpp"
#include "tests/support/fake_appliance.hpp"
#include "tests/support/files.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::FakeAppliance;
using vmpack::test::MemorySource;
using vmpack::test::Random;

namespace {

constexpr std::uint64_t kImage = 24 * kMiB;

/// Zeros, text and noise in pieces of all sizes.
Bytes make_image(std::uint64_t seed) {
  Random random(seed);
  Bytes image(kImage);
  for (std::uint64_t at = 0; at < kImage;) {
    const std::uint64_t length = std::min(1 + random.below(300'000), kImage - at);
    const ByteSpan piece = ByteSpan(image).subspan(at, length);
    const std::uint64_t kind = random.below(3);
    if (kind == 1) std::ranges::copy(test::random_bytes(random.below(20), length), piece.begin());
    if (kind == 2) std::ranges::fill(piece, static_cast<std::byte>(random.below(256)));
    at += length;
  }
  return image;
}

/// Files of any length, some with other bytes right behind their end, some overlapping, some out of range.
Layout make_layout(std::uint64_t seed) {
  Random random(seed);
  Layout layout;
  layout.image_bytes = kImage;
  Volume volume;
  volume.range = {random.below(8) * 4096, kImage - 64 * 4096};
  volume.type = "ext4";
  volume.inspected = true;
  std::uint64_t at = 0;
  for (int i = 0; i < 300; ++i) {
    FileEntry file;
    file.path = fmt::format("/{:03}.txt", i);
    file.type = FileType::kRegular;
    std::uint64_t offset = 0;
    for (std::uint64_t extents = 1 + random.below(3); extents > 0; --extents) {
      const std::uint64_t length = 4096 * (1 + random.below(20));
      file.extents.push_back({offset, at, length});
      offset += length + (random.below(4) == 0 ? 4096 : 0);
      at += length + 4096 * random.below(3);
    }
    file.size = offset - random.below(4096);
    if (random.below(20) == 0) at -= std::min<std::uint64_t>(at, 65536);
    volume.files.push_back(std::move(file));
  }
  layout.volumes.push_back(std::move(volume));
  return layout;
}

struct Repo {
  test::TempDir folder;
  std::shared_ptr<Store> store = open_directory_store(folder.path());
  std::shared_ptr<Repository> repository;

  Repo() {
    Repository::init(*store, {});
    repository = Repository::open(store);
  }
  IngestResult add(const Bytes& image, const Layout& layout, const std::string& name) {
    MemorySource source(image);
    NoProgress progress;
    return ingest(repository, source, layout, parse_reference_name(name), {}, progress);
  }
  Bytes back(const SnapshotDigest& snapshot) {
    const std::string path = folder / "restored";
    NoProgress progress;
    const auto sink = open_raw_sink(path, repository->manifest(snapshot).image_bytes, true);
    restore(*repository, snapshot, *sink, 2, progress);
    const Bytes bytes = test::read_file(path);
    std::filesystem::remove(path);
    return bytes;
  }
  VerifyReport check() {
    NoProgress progress;
    return verify(store, {{}, false, 2}, progress);
  }
};

}  // namespace

TEST_CASE("an image comes back bit for bit, whatever the layout says of it") {
  Repo repo;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    INFO("seed " << seed);
    const Bytes image = make_image(seed);
    const auto result = repo.add(image, make_layout(seed * 7), fmt::format("image:{}", seed));
    REQUIRE(repo.back(result.snapshot) == image);
  }
  CHECK(repo.check().damage.empty());
}

TEST_CASE("the same image again is the same snapshot and adds nothing") {
  Repo repo;
  const Bytes image = make_image(3);
  const auto first = repo.add(image, make_layout(3), "a:1");
  const auto second = repo.add(image, make_layout(3), "a:2");
  CHECK(first.snapshot == second.snapshot);
  CHECK(second.added.objects_new == 0);
  CHECK(second.added.packs_new == 0);
}

TEST_CASE("two fresh repositories hold the same bytes after the same ingest") {
  const Bytes image = make_image(4);
  Repo one;
  Repo two;
  one.add(image, make_layout(4), "a:1");
  two.add(image, make_layout(4), "a:1");
  for (const std::string& file : test::files_below(one.folder.path())) {
    const bool differs_by_nature =
        file == "vmpack.json" || file.starts_with("refs/") || file.starts_with("notes/");
    if (!differs_by_nature) CHECK(test::read_file(one.folder / file) == test::read_file(two.folder / file));
  }
}

TEST_CASE("a file found elsewhere on another disk adds no data") {
  Repo repo;
  const Bytes content = test::random_bytes(77, 300'000);
  const auto disk_with = [&](std::uint64_t at) {
    Bytes image(kImage);
    std::ranges::copy(content, image.begin() + static_cast<std::ptrdiff_t>(at));
    return image;
  };
  const auto layout_with = [&](std::uint64_t at) {
    Layout layout;
    layout.image_bytes = kImage;
    Volume volume;
    volume.range = {0, kImage};
    volume.inspected = true;
    FileEntry file;
    file.path = "/file";
    file.type = FileType::kRegular;
    file.size = content.size();
    file.extents = {{0, at, round_up(content.size(), 4096)}};
    volume.files.push_back(file);
    layout.volumes.push_back(volume);
    return layout;
  };
  repo.add(disk_with(0), layout_with(0), "a:1");
  const auto moved = repo.add(disk_with(5 * kMiB), layout_with(5 * kMiB), "a:2");
  CHECK(moved.added.bytes_new == 0);
  CHECK(repo.back(moved.snapshot) == disk_with(5 * kMiB));
}

TEST_CASE("an empty image and one of zeros can be kept") {
  Repo repo;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{512}, kImage}) {
    Layout layout;
    layout.image_bytes = size;
    const auto result = repo.add(Bytes(size), layout, fmt::format("zeros:{}", size));
    CHECK(repo.back(result.snapshot) == Bytes(size));
    CHECK(result.added.frames_new == 0);
  }
}

namespace {

/// A known volume in the middle of the disk, and before it one that waits for the appliance.
struct TwoVolumes {
  Bytes image = make_image(20);
  Layout known;
  Layout complete;

  TwoVolumes() {
    known.image_bytes = kImage;
    Volume late;
    late.range = {kMiB, 8 * kMiB};
    late.number = 1;
    late.type = "xfs";
    Volume early;
    early.range = {10 * kMiB, 8 * kMiB};
    early.number = 2;
    early.type = "ext4";
    early.inspected = true;
    early.files = files_at(10 * kMiB);
    known.volumes = {late, early};
    complete = known;
    complete.volumes[0].inspected = true;
    complete.volumes[0].files = files_at(kMiB);
    complete.volumes[0].free = {{8 * kMiB, kMiB}};
    Volume logical;
    logical.name = "a/b";
    logical.range = {7 * kMiB, kMiB};
    logical.pieces = {logical.range};
    logical.inspected = true;
    complete.volumes.push_back(logical);
  }

  static std::vector<FileEntry> files_at(std::uint64_t offset) {
    std::vector<FileEntry> files;
    for (std::uint64_t i = 0; i < 20; ++i) {
      FileEntry& file = files.emplace_back();
      file.path = fmt::format("/{:02}", i);
      file.type = FileType::kRegular;
      file.size = 50'000 + i;
      file.extents = {{0, offset + i * 65536, file.size}};
    }
    return files;
  }
};

}  // namespace

TEST_CASE("volumes that come later are packed along their files, and the image comes back") {
  const TwoVolumes disk;
  Repo repo;
  FakeAppliance appliance(disk.complete);
  MemorySource source(disk.image);
  NoProgress progress;
  const auto result =
      ingest(repo.repository, source, disk.known, parse_reference_name("a:1"), {}, progress, &appliance);
  CHECK(repo.back(result.snapshot) == disk.image);
  REQUIRE(result.manifest.volumes.size() == 3);
  CHECK(result.manifest.volumes[0].file_count == 20);
  CHECK(result.manifest.volumes[0].inspected);
  CHECK(result.manifest.volumes[1].file_count == 20);
  CHECK(result.manifest.volumes[2].name == "a/b");
  for (const VerifyFinding& finding : repo.check().damage) FAIL(finding.file << ": " << finding.what);
}

TEST_CASE("what a later volume calls free is left out when asked for, unless it is dirty") {
  TwoVolumes disk;
  Repo repo;
  MemorySource source(disk.image);
  NoProgress progress;
  const IngestOptions options{.discard_free = true};
  FakeAppliance appliance(disk.complete);
  const auto result =
      ingest(repo.repository, source, disk.known, parse_reference_name("a:1"), options, progress, &appliance);
  const Bytes back = repo.back(result.snapshot);
  CHECK(is_zero(ByteView(back).subspan(8 * kMiB, kMiB)));
  Bytes expected = disk.image;
  std::fill_n(expected.begin() + 8 * kMiB, kMiB, std::byte{0});
  CHECK(back == expected);

  disk.complete.volumes[0].dirty = true;
  FakeAppliance dirty(disk.complete);
  const Error error = test::error_of([&] {
    (void)ingest(repo.repository, source, disk.known, parse_reference_name("a:2"), options, progress, &dirty);
  });
  CHECK(error.code() == ErrorCode::kRefused);
  CHECK_FALSE(repo.repository->find(parse_reference_name("a:2")));
}

TEST_CASE("an existing reference is not moved unless asked") {
  Repo repo;
  Layout layout;
  layout.image_bytes = 512;
  repo.add(Bytes(512), layout, "a:1");
  const Error error = test::error_of([&] { repo.add(Bytes(512, std::byte{1}), layout, "a:1"); });
  CHECK(error.code() == ErrorCode::kAlreadyExists);
}

TEST_CASE("reads at odd offsets and lengths agree with the image, cached or not") {
  Repo repo;
  const Bytes image = make_image(9);
  const auto result = repo.add(image, make_layout(9), "a:1");
  for (const std::uint64_t cache_bytes : {std::uint64_t{0}, 2 * kMiB, 256 * kMiB}) {
    const auto cache = std::make_shared<FrameCache>(cache_bytes);
    const auto reader = ImageReader::open(repo.repository, result.snapshot, cache);
    REQUIRE(reader->size() == kImage);
    Random random(cache_bytes);
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t offset = random.below(kImage);
      const std::uint64_t length =
          std::min(random.below(random.below(8) == 0 ? 3 * kMiB : 5000), kImage - offset);
      const ByteView expected = ByteView(image).subspan(offset, length);
      Bytes got(length);
      reader->read(offset, got);
      REQUIRE(std::ranges::equal(got, expected));
      Bytes again(length);
      if (reader->try_read(offset, again)) REQUIRE(std::ranges::equal(again, expected));
      std::uint64_t at = 0;
      for (const AllocationRun& run : reader->allocation(offset, length)) {
        if (run.zero) REQUIRE(is_zero(expected.subspan(at, run.length)));
        at += run.length;
      }
      REQUIRE(at == length);
    }
    CHECK(cache->statistics().bytes <= cache_bytes);
  }
}

TEST_CASE("a damaged pack is an error that names it, to restore and to readers") {
  Repo repo;
  const auto result = repo.add(make_image(5), make_layout(5), "a:1");
  for (const std::string& file : test::files_below(repo.folder.path())) {
    if (!file.starts_with("packs/")) continue;
    Bytes bytes = test::read_file(repo.folder / file);
    for (std::size_t at = 20; at < bytes.size() / 2; at += 997) bytes[at] ^= std::byte{1};
    test::write_file(repo.folder / file, bytes);
  }
  repo.store = open_directory_store(repo.folder.path());
  repo.repository = Repository::open(repo.store);
  const Error error = test::error_of([&] { (void)repo.back(result.snapshot); });
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK_THAT(error.what(), Catch::Contains("packs/"));
  CHECK_FALSE(std::filesystem::exists(repo.folder / "restored"));
  CHECK_FALSE(repo.check().damage.empty());
}

namespace {

/// One file of noise on an otherwise empty volume, of which each later version differs in a few kilobytes.
struct Versions {
  static constexpr std::uint64_t kFileBytes = 200 * kKiB;

  Repo repo;
  Bytes content = test::random_bytes(1, kFileBytes);
  std::vector<std::pair<SnapshotDigest, Bytes>> made;

  /// Packs a disk that has the file at `disk_offset`. Returns what that added, in bytes.
  std::uint64_t add(const std::string& name, const std::string& path, std::uint64_t disk_offset) {
    Layout layout;
    layout.image_bytes = kImage;
    Volume volume;
    volume.range = {0, kImage};
    volume.type = "ext4";
    volume.inspected = true;
    FileEntry file;
    file.path = path;
    file.type = FileType::kRegular;
    file.size = kFileBytes;
    file.extents = {{0, disk_offset, kFileBytes}};
    volume.files.push_back(std::move(file));
    layout.volumes.push_back(std::move(volume));
    Bytes image(kImage);
    std::ranges::copy(content, image.begin() + static_cast<std::ptrdiff_t>(disk_offset));
    const IngestResult result = repo.add(image, layout, name);
    made.emplace_back(result.snapshot, std::move(image));
    return result.added.stored_bytes;
  }
  void change(std::uint64_t seed) {
    std::ranges::copy(test::random_bytes(seed, 3000),
                      content.begin() + static_cast<std::ptrdiff_t>(seed * 7000));
  }
  void require_intact() {
    for (const auto& [snapshot, image] : made) REQUIRE(repo.back(snapshot) == image);
    for (const VerifyFinding& finding : repo.check().damage) FAIL(finding.file << ": " << finding.what);
  }
  /// Frames of all packs, by digest, with what they stand on.
  std::map<Digest, std::vector<FrameDigest>> frames() {
    std::map<Digest, std::vector<FrameDigest>> found;
    for (const PackDigest& pack : list_packs(*repo.store)) {
      for (const PackFrame& frame : read_pack_tables(*repo.store, pack).frames)
        found[frame.digest] = frame.bases;
    }
    return found;
  }
};

constexpr std::uint64_t kDeltaBytesMax = 40 * kKiB;  // of 200 KiB, map and file table included

}  // namespace

TEST_CASE("a new version of a file is stored as what changed, wherever it lies") {
  Versions versions;
  CHECK(versions.add("image:1", "/data/store", kMiB) >= Versions::kFileBytes);
  versions.change(1);
  CHECK(versions.add("image:2", "/data/store", 3 * kMiB) < kDeltaBytesMax);
  versions.require_intact();
}

TEST_CASE("a file whose name tells its version is taken for the next one") {
  Versions versions;
  versions.add("image:1", "/boot/initrd.img-6.1.0-9", kMiB);
  versions.change(1);
  CHECK(versions.add("image:2", "/boot/initrd.img-6.1.0-10", kMiB) < kDeltaBytesMax);
  versions.change(2);
  CHECK(versions.add("other:1", "/boot/initrd.img-6.1.0-11", kMiB) < kDeltaBytesMax);
  CHECK(versions.add("image:3", "/boot/unlike", 9 * kMiB) < kDeltaBytesMax);  // known by its content
  versions.require_intact();
}

TEST_CASE("a delta frame stands on whole ones, however many versions there are") {
  Versions versions;
  versions.add("image:0", "/file", kMiB);
  for (std::uint64_t version = 1; version < 8; ++version) {
    versions.change(version);
    CHECK(versions.add(fmt::format("image:{}", version), "/file", kMiB) < 2 * kDeltaBytesMax);
  }
  versions.require_intact();
  const auto frames = versions.frames();
  std::size_t deltas = 0;
  for (const auto& [digest, bases] : frames) {
    CHECK(bases.size() <= kDeltaBasesMax);
    deltas += bases.empty() ? 0U : 1U;
    for (const FrameDigest& base : bases) {
      REQUIRE(frames.contains(base));
      CHECK(frames.at(base).empty());
    }
  }
  CHECK(deltas >= 7);
}

TEST_CASE("damage to what a delta frame stands on is found, and nothing wrong comes back") {
  Versions versions;
  versions.add("image:1", "/file", kMiB);
  const PackDigest pack = list_packs(*versions.repo.store).front();
  versions.change(1);
  versions.add("image:2", "/file", kMiB);
  const std::string path = versions.repo.folder / pack_key(pack);
  Bytes bytes = test::read_file(path);
  bytes[1000] ^= std::byte{1};
  test::write_file(path, bytes);
  for (const auto& [snapshot, image] : versions.made) {
    CHECK(test::error_of([&] { (void)versions.repo.back(snapshot); }).code() == ErrorCode::kDamaged);
  }
  const VerifyReport report = versions.repo.check();
  REQUIRE_FALSE(report.damage.empty());
  CHECK(report.damage.front().file == pack_key(pack));
  // What it goes on with is whole again: nothing is taken for an older version that cannot be read.
  versions.change(2);
  CHECK(versions.add("image:3", "/file", kMiB) > 0);
}
