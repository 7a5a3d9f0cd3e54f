// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/image_diff.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/sector_diff.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::MemorySource;
using vmpack::test::Random;

namespace {

constexpr unsigned kThreads = 3;

struct Repo {
  test::TempDir folder;
  std::shared_ptr<Repository> repository;
  int images = 0;

  Repo() {
    const std::shared_ptr<Store> store = open_directory_store(folder.path());
    Repository::init(*store, {});
    repository = Repository::open(store);
  }

  SnapshotDigest ingest_image(const Bytes& image) {
    MemorySource source(image);
    NoProgress progress;
    Layout layout;
    layout.image_bytes = image.size();
    return ingest(repository, source, layout, {"image", std::to_string(++images)}, {}, progress).snapshot;
  }

  [[nodiscard]] std::vector<ByteRange> diff(const SnapshotDigest& before, const SnapshotDigest& after) const {
    NoProgress progress;
    return diff_images(repository, before, after, std::make_shared<FrameCache>(16 * kMiB), kThreads,
                       progress);
  }
};

Bytes random_image(Random& random, std::size_t size) {
  Bytes image(size);
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = std::min<std::size_t>(1 + random.below(300'000), size - at);
    const ByteSpan piece = ByteSpan(image).subspan(at, length);
    const std::uint64_t kind = random.below(3);
    if (kind == 1) std::ranges::copy(test::random_bytes(random.below(20), length), piece.begin());
    if (kind == 2) std::ranges::fill(piece, static_cast<std::byte>(random.below(256)));
    at += length;
  }
  return image;
}

/// Bytes are overwritten, zeroed, moved to elsewhere, and put back as they were.
void change(Random& random, Bytes& image) {
  for (int i = 0; i < 40; ++i) {
    const std::size_t length = 1 + random.below(i % 8 == 0 ? 200'000 : 600);
    const std::size_t at = random.below(image.size() - length);
    const ByteSpan piece = ByteSpan(image).subspan(at, length);
    switch (random.below(3)) {
      case 0:
        std::ranges::copy(test::random_bytes(random.next(), length), piece.begin());
        break;
      case 1:
        std::ranges::fill(piece, std::byte{0});
        break;
      default:
        const std::size_t from = random.below(image.size() - length);
        std::memmove(piece.data(), image.data() + from, length);
    }
  }
}

std::vector<ByteRange> expected(Bytes before, Bytes after) {
  const std::size_t size = std::max(before.size(), after.size());
  before.resize(size);
  after.resize(size);
  std::vector<ByteRange> ranges;
  for (std::size_t at = 0; at < size; at += kSectorBytes) {
    if (std::memcmp(before.data() + at, after.data() + at, kSectorBytes) != 0)
      add_range(ranges, {at, kSectorBytes});
  }
  return ranges;
}

ImageBytes bytes_of(const Bytes& image) {
  return {
      image.size(),
      [&image](std::uint64_t offset, ByteSpan into) {
        std::memcpy(into.data(), image.data() + offset, into.size());
      },
      [](std::uint64_t offset, std::uint64_t length) { return std::vector<ByteRange>{{offset, length}}; }};
}

}  // namespace

TEST_CASE("two snapshots differ in just the sectors whose bytes differ") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    Repo repo;
    Bytes image = random_image(random, 8 * kMiB);
    const Bytes before = image;
    const SnapshotDigest old_snapshot = repo.ingest_image(before);
    change(random, image);
    image.resize(image.size() + (seed % 3) * kMiB - (seed % 2) * 64 * kKiB, std::byte{7});
    const SnapshotDigest new_snapshot = repo.ingest_image(image);
    CHECK(repo.diff(old_snapshot, new_snapshot) == expected(before, image));
    CHECK(repo.diff(new_snapshot, old_snapshot) == expected(before, image));
    CHECK(repo.diff(new_snapshot, new_snapshot).empty());
  }
}

TEST_CASE("an image differs from a snapshot in just the sectors whose bytes differ") {
  Random random(77);
  Repo repo;
  Bytes image = random_image(random, 10 * kMiB);
  const Bytes before = image;
  const SnapshotDigest snapshot = repo.ingest_image(before);
  change(random, image);
  image.resize(11 * kMiB, std::byte{3});
  const ImageBytes stored =
      bytes_of(ImageReader::open(repo.repository, snapshot, std::make_shared<FrameCache>(16 * kMiB)));
  NoProgress progress;
  CHECK(diff_bytes(stored, bytes_of(image), kThreads, progress) == expected(before, image));
  CHECK(diff_bytes(bytes_of(image), stored, kThreads, progress) == expected(before, image));
  CHECK(diff_bytes(bytes_of(before), stored, kThreads, progress).empty());
}

TEST_CASE("a file is read along its extents, with zeros between them") {
  const Bytes image = test::random_bytes(5, 64 * kKiB);
  FileEntry file;
  file.size = 20'000;
  file.extents = {{4096, 8192, 4096}, {8192, 40'960, 512}, {16'384, 512, 8192}};
  Bytes expected_bytes(file.size);
  for (const FileExtent& extent : file.extents) {
    const std::size_t length = std::min(extent.length, file.size - extent.file_offset);
    std::memcpy(expected_bytes.data() + extent.file_offset, image.data() + extent.disk_offset, length);
  }
  Bytes content;
  read_file(bytes_of(image), file, [&](ByteView bytes) { append(content, bytes); });
  CHECK(content == expected_bytes);
  CHECK(same_content(bytes_of(image), file, bytes_of(image), file));
  FileEntry other = file;
  other.extents.pop_back();
  CHECK_FALSE(same_content(bytes_of(image), file, bytes_of(image), other));
}

TEST_CASE("extents that make no sense are damage, before a byte is written") {
  const Bytes image(64 * kKiB);
  FileEntry file;
  file.size = 8192;
  const std::vector<std::vector<FileExtent>> bad = {{{4096, 0, 4096}, {0, 4096, 4096}},  // backwards
                                                    {{0, 0, 8192}, {4096, 0, 4096}},     // overlapping
                                                    {{0, 64 * kKiB - 512, 1024}},    // behind the image's end
                                                    {{0, UINT64_MAX - 511, 1024}},   // around its end
                                                    {{UINT64_MAX - 511, 0, 1024}}};  // around the file's
  for (const auto& extents : bad) {
    file.extents = extents;
    bool written = false;
    CHECK_THROWS_AS(read_file(bytes_of(image), file, [&](ByteView) { written = true; }), Error);
    CHECK_FALSE(written);
  }
}
