// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/plan.hpp"

#include <fmt/core.h>

#include <functional>

#include <catch2/catch.hpp>

#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using vmpack::test::Random;

namespace {

constexpr std::uint64_t kImage = 64 * kMiB;
constexpr std::uint32_t kWhole = 128 * 1024;

/// True when the parts' ranges hold each sector of `data` exactly once, and no sector twice or outside the
/// image.
bool covers_exactly(const Plan& plan, std::span<const ByteRange> data, std::uint64_t image_bytes) {
  std::vector<std::uint8_t> taken(image_bytes / kSectorBytes);
  for (const Part& part : plan.parts) {
    std::uint64_t bytes = 0;
    for (const ByteRange& range : part.ranges) {
      if (range.offset % kSectorBytes != 0 || range.length % kSectorBytes != 0 || range.end() > image_bytes)
        return false;
      for (std::uint64_t at = range.offset; at < range.end(); at += kSectorBytes) {
        if (taken[at / kSectorBytes]++ != 0) return false;
      }
      bytes += range.length;
    }
    if (part.bytes == 0 || part.bytes > kPartBytesMax || bytes != round_up(part.bytes, kSectorBytes))
      return false;
  }
  for (const ByteRange& range : data) {
    for (std::uint64_t at = range.offset; at < range.end(); at += kSectorBytes) {
      if (taken[at / kSectorBytes] != 1) return false;
    }
  }
  return true;
}

FileEntry file(std::string path, std::uint64_t size, std::vector<FileExtent> extents) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = FileType::kRegular;
  entry.size = size;
  entry.extents = std::move(extents);
  return entry;
}

Layout one_volume(std::vector<FileEntry> files) {
  Layout layout;
  layout.image_bytes = kImage;
  Volume volume;
  volume.range = {kMiB, 32 * kMiB};
  volume.type = "ext4";
  volume.inspected = true;
  volume.files = std::move(files);
  layout.volumes.push_back(std::move(volume));
  return layout;
}

const std::vector<ByteRange> kAll = {{0, kImage}};

std::uint64_t wild(Random& random) {
  switch (random.below(6)) {
    case 0:
      return random.below(kImage / 4096) * 4096;
    case 1:
      return random.below(kImage);
    case 2:
      return random.next();
    case 3:
      return UINT64_MAX - random.below(10000);
    case 4:
      return 0;
    default:
      return random.below(64) * 4096;
  }
}

/// A layout of a liar: overlapping, unaligned, out of range, out of order.
Layout hostile_layout(std::uint64_t seed) {
  Random random(seed);
  Layout layout;
  layout.image_bytes = kImage;
  for (std::uint64_t v = random.below(5); v > 0; --v) {
    Volume volume;
    volume.range = {wild(random), wild(random)};
    volume.type = random.below(4) == 0 ? "swap" : "ext4";
    volume.inspected = random.below(3) != 0;
    if (random.below(3) == 0) {
      for (std::uint64_t p = random.below(6); p > 0; --p)
        volume.pieces.push_back({wild(random), wild(random)});
    }
    for (std::uint64_t f = random.below(20); f > 0; --f) volume.free.push_back({wild(random), wild(random)});
    for (std::uint64_t f = random.below(60); f > 0; --f) {
      std::vector<FileExtent> extents;
      for (std::uint64_t e = random.below(5); e > 0; --e)
        extents.push_back({wild(random), wild(random), wild(random)});
      if (random.below(2) == 0) std::ranges::sort(extents, {}, &FileExtent::file_offset);
      volume.files.push_back(file(fmt::format("/{}", f), wild(random), std::move(extents)));
    }
    layout.volumes.push_back(std::move(volume));
  }
  return layout;
}

}  // namespace

TEST_CASE("a disk without a layout is covered by parts of no file") {
  Layout layout;
  layout.image_bytes = kImage;
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  CHECK(plan.parts.size() == kImage / kPartBytesMax);
}

TEST_CASE("a file is a part of its own, its tail's block is split at the sector that ends it") {
  const Layout layout = one_volume({file("/a.txt", 5000, {{0, 2 * kMiB, 8192}})});
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  const auto part = std::ranges::find(plan.parts, 0U, &Part::file);
  REQUIRE(part != plan.parts.end());
  CHECK(part->bytes == 5000);
  CHECK(part->ranges == std::vector<ByteRange>{{2 * kMiB, 5120}});
  CHECK(part->object_class == ObjectClass::kText);
  CHECK(part->cutting == Cutting::kWhole);
}

TEST_CASE("a file in pieces all over the disk is one part in file order") {
  const Layout layout = one_volume({file("/a", 12288, {{0, 20 * kMiB, 4096}, {4096, 3 * kMiB, 8192}})});
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  const auto part = std::ranges::find(plan.parts, 0U, &Part::file);
  REQUIRE(part != plan.parts.end());
  CHECK(part->ranges == std::vector<ByteRange>{{20 * kMiB, 4096}, {3 * kMiB, 8192}});
}

TEST_CASE("holes end a part, and a long file is split at multiples of the largest part") {
  const Layout layout = one_volume({file("/holes", kMiB, {{0, 2 * kMiB, 4096}, {65536, 3 * kMiB, 4096}}),
                                    file("/long", 20 * kMiB, {{0, 8 * kMiB, 20 * kMiB}})});
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  CHECK(std::ranges::count(plan.parts, 0U, &Part::file) == 2);
  CHECK(std::ranges::count(plan.parts, 1U, &Part::file) == 2);
}

TEST_CASE("of files that claim the same blocks the later on the disk gives way") {
  const Layout layout =
      one_volume({file("/a", 8192, {{0, 2 * kMiB, 8192}}), file("/b", 8192, {{0, 2 * kMiB + 4096, 8192}})});
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  CHECK(plan.files_rejected == 1);
  CHECK(std::ranges::count(plan.parts, 0U, &Part::file) == 1);
}

TEST_CASE("free space, metadata, swap and gaps have their classes") {
  Layout layout = one_volume({});
  layout.volumes[0].free = {{4 * kMiB, kMiB}};
  Volume swap;
  swap.range = {40 * kMiB, 4 * kMiB};
  swap.type = "swap";
  layout.volumes.push_back(swap);
  const Plan plan = make_plan(layout, kAll, {kWhole});
  CHECK(covers_exactly(plan, kAll, kImage));
  std::array<std::uint64_t, kObjectClassCount> bytes{};
  for (const Part& part : plan.parts) bytes[static_cast<std::size_t>(part.object_class)] += part.bytes;
  CHECK(bytes[static_cast<std::size_t>(ObjectClass::kFree)] == kMiB);
  CHECK(bytes[static_cast<std::size_t>(ObjectClass::kFsMetadata)] == 31 * kMiB);
  CHECK(bytes[static_cast<std::size_t>(ObjectClass::kSwap)] == 4 * kMiB);
  CHECK(bytes[static_cast<std::size_t>(ObjectClass::kBoot)] == kImage - 36 * kMiB);
}

TEST_CASE("free space and swap are left out when asked for, but for what a file claims") {
  Layout layout = one_volume({file("/a", 8192, {{0, 4 * kMiB, 8192}})});
  layout.volumes[0].free = {{4 * kMiB, kMiB}};
  Volume swap;
  swap.range = {40 * kMiB, 4 * kMiB};
  swap.type = "swap";
  layout.volumes.push_back(swap);
  const std::vector<ByteRange> kept = {
      {0, 4 * kMiB + 8192}, {5 * kMiB, 35 * kMiB + kSwapHeaderBytes}, {44 * kMiB, kImage - 44 * kMiB}};
  const Plan plan = make_plan(layout, kAll, {kWhole, true});
  CHECK(covers_exactly(plan, kept, kImage));
  CHECK(plan.discarded.free == kMiB - 8192);
  CHECK(plan.discarded.swap == 4 * kMiB - kSwapHeaderBytes);
  const auto left_out = [](const Plan& made) { return made.discarded.free + made.discarded.swap; };
  CHECK(left_out(make_plan(layout, kAll, {kWhole})) == 0);
  CHECK(left_out(make_plan(layout, kept, {kWhole, true})) == 0);  // holes are not counted
  layout.volumes.pop_back();
  for (const auto& spoil : std::vector<std::function<void(Volume&)>>{
           [](Volume& volume) { volume.dirty = true; }, [](Volume& volume) { volume.warning = "damaged"; },
           [](Volume& volume) { volume.inspected = false; }}) {
    Layout spoilt = layout;
    spoil(spoilt.volumes[0]);
    const Plan whole = make_plan(spoilt, kAll, {kWhole, true});
    CHECK(covers_exactly(whole, kAll, kImage));
    CHECK(left_out(whole) == 0);
  }
}

TEST_CASE("logical volumes have their classes where they lie, and their physical volume has the rest") {
  Layout layout = one_volume({});
  Volume& physical = layout.volumes[0];  // 1 to 33 MiB
  physical.type = "LVM2_member";
  physical.free = {{20 * kMiB, 13 * kMiB}};
  Volume root = physical;
  root.name = "group/root";
  root.pieces = {{10 * kMiB, 4 * kMiB}, {2 * kMiB, 4 * kMiB}};
  root.range = {2 * kMiB, 12 * kMiB};
  root.free = {{3 * kMiB, kMiB}, {5 * kMiB, kMiB}, {12 * kMiB, 2 * kMiB}};
  root.files = {file("/a", 8192, {{0, 11 * kMiB, 4096}, {4096, 2 * kMiB, 4096}})};
  Volume swap;
  swap.name = "group/swap";
  swap.type = "swap";
  swap.range = {6 * kMiB, 12 * kMiB};
  swap.pieces = {{16 * kMiB, 2 * kMiB}, {6 * kMiB, kMiB}};
  layout.volumes.push_back(root);
  layout.volumes.push_back(swap);

  const auto bytes_of = [](const Plan& plan) {
    std::array<std::uint64_t, kObjectClassCount> bytes{};
    for (const Part& part : plan.parts) bytes[static_cast<std::size_t>(part.object_class)] += part.bytes;
    return bytes;
  };
  const auto all = bytes_of(make_plan(layout, kAll, {kWhole}));
  CHECK(all[static_cast<std::size_t>(ObjectClass::kFree)] == 17 * kMiB);
  CHECK(all[static_cast<std::size_t>(ObjectClass::kSwap)] == 3 * kMiB);
  // Metadata of the file system, and of LVM: 1 to 2, 7 to 10, 14 to 16, 18 to 20 MiB.
  CHECK(all[static_cast<std::size_t>(ObjectClass::kFsMetadata)] == 4 * kMiB - 8192 + 8 * kMiB);

  const std::vector<ByteRange> kept = {{0, 3 * kMiB},         {4 * kMiB, kMiB},
                                       {7 * kMiB, 5 * kMiB},  {14 * kMiB, 2 * kMiB + kSwapHeaderBytes},
                                       {18 * kMiB, 2 * kMiB}, {33 * kMiB, kImage - 33 * kMiB}};
  const Plan plan = make_plan(layout, kAll, {kWhole, true});
  CHECK(covers_exactly(plan, kept, kImage));
  CHECK(plan.discarded.free == 17 * kMiB);
  CHECK(plan.discarded.swap == 3 * kMiB - kSwapHeaderBytes);
}

TEST_CASE("planned in turns, every byte of the data is in exactly one part of one turn") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    std::vector<ByteRange> first;
    std::vector<ByteRange> second;
    for (std::uint64_t at = 0; at < kImage;) {
      const std::uint64_t length = std::min((1 + random.below(20'000)) * kSectorBytes, kImage - at);
      (random.below(2) == 0 ? first : second).push_back({at, length});
      at += length;
    }
    Plan plan = make_plan(hostile_layout(seed), kAll, {kWhole, false, first});
    const Plan later = make_plan(hostile_layout(seed + 1000), kAll, {kWhole, false, second});
    plan.parts.insert(plan.parts.end(), later.parts.begin(), later.parts.end());
    REQUIRE(covers_exactly(plan, kAll, kImage));
  }
}

TEST_CASE("a turn has the files that lie in it, and does not miss the others") {
  const Layout layout =
      one_volume({file("/a", 8192, {{0, 2 * kMiB, 8192}}), file("/b", 8192, {{0, 20 * kMiB, 8192}}),
                  file("/c", 8192, {{0, 21 * kMiB, 4096}, {4096, 3 * kMiB, 4096}})});
  const Plan first = make_plan(layout, kAll, {kWhole, false, {{{0, 10 * kMiB}}}});
  CHECK(first.files_rejected == 0);
  CHECK(std::ranges::count(first.parts, 0U, &Part::file) == 1);
  CHECK(std::ranges::count(first.parts, 1U, &Part::file) == 0);
  const Plan second = make_plan(layout, kAll, {kWhole, false, {{{10 * kMiB, kImage - 10 * kMiB}}}});
  CHECK(second.files_rejected == 1);
  CHECK(std::ranges::count(second.parts, 1U, &Part::file) == 1);
  CHECK(make_plan(layout, kAll, {kWhole, false, std::vector<ByteRange>{}}).parts.empty());
}

TEST_CASE("whatever a layout claims, every byte of the data is in exactly one part") {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    Random random(seed);
    std::vector<ByteRange> data;
    for (std::uint64_t at = 0; at < kImage;) {
      const std::uint64_t length = std::min((1 + random.below(4096)) * kSectorBytes, kImage - at);
      if (random.below(3) != 0) data.push_back({at, length});
      at += length + kSectorBytes * random.below(2000);
    }
    INFO("seed " << seed);
    REQUIRE(covers_exactly(make_plan(hostile_layout(seed), data, {kWhole}), data, kImage));
  }
}

TEST_CASE("of a file that changed in part, the changed pieces are parts of that file") {
  const Layout layout =
      one_volume({file("/db.sqlite", kMiB, {{0, 2 * kMiB, kMiB / 2}, {kMiB / 2, 8 * kMiB, kMiB / 2}}),
                  file("/other", 8192, {{0, 20 * kMiB, 8192}})});
  const std::vector<ByteRange> changed{{2 * kMiB + 8192, 4096}, {8 * kMiB - 4096, 12288}};
  const Plan plan = make_plan(layout, kAll, {kWhole, false, changed, true});
  CHECK(plan.files_rejected == 0);
  CHECK(covers_exactly(plan, changed, kImage));
  REQUIRE(plan.parts.size() == 3);
  CHECK(plan.parts[0].file == 0);
  CHECK(plan.parts[0].file_offset == 8192);
  CHECK(plan.parts[1].file == Part::kNoFile);
  CHECK(plan.parts[1].object_class == ObjectClass::kFsMetadata);
  CHECK(plan.parts[2].file == 0);
  CHECK(plan.parts[2].file_offset == kMiB / 2);
  CHECK(plan.parts[2].bytes == 8192);
}

TEST_CASE("a long run that changed and is of no known file is taken for a new one") {
  const Layout layout = one_volume({});
  const std::vector<ByteRange> changed{{4 * kMiB, 4096}, {8 * kMiB, 256 * kKiB}};
  const Plan plan = make_plan(layout, kAll, {kWhole, false, changed, true});
  REQUIRE(plan.parts.size() == 2);
  CHECK(plan.parts[0].cutting == Cutting::kFixed);
  CHECK(plan.parts[1].cutting == Cutting::kContentDefined);
}

TEST_CASE("a file of which half changed is taken as a whole, as far as it can be read") {
  const Layout layout = one_volume({file("/half", 16384, {{0, 2 * kMiB, 8192}, {8192, 3 * kMiB, 8192}}),
                                    file("/less", 16384, {{0, 4 * kMiB, 16384}}),
                                    file("/unreadable", 8192, {{0, 40 * kMiB - 4096, 8192}})});
  const std::vector<ByteRange> changed{{2 * kMiB, 8192}, {4 * kMiB, 4096}, {40 * kMiB - 4096, 4096}};
  const std::vector<ByteRange> readable{{0, 40 * kMiB}};
  CHECK(
      widen_to_files(layout, changed, readable) ==
      std::vector<ByteRange>{{2 * kMiB, 8192}, {3 * kMiB, 8192}, {4 * kMiB, 4096}, {40 * kMiB - 4096, 4096}});
}

TEST_CASE("whatever a layout claims, every byte that changed is in exactly one part, and no other is") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    std::vector<ByteRange> changed;
    for (std::uint64_t at = 0; at < kImage;) {
      const std::uint64_t length = std::min((1 + random.below(500)) * kSectorBytes, kImage - at);
      if (random.below(3) == 0) changed.push_back({at, length});
      at += length + kSectorBytes * (1 + random.below(3000));
    }
    INFO("seed " << seed);
    const Layout layout = hostile_layout(seed);
    const std::vector<ByteRange> wide = widen_to_files(layout, changed, kAll);
    const Plan plan = make_plan(layout, kAll, {kWhole, false, wide, true});
    REQUIRE(covers_exactly(plan, wide, kImage));
    std::uint64_t bytes = 0;
    for (const Part& part : plan.parts) bytes += round_up(part.bytes, kSectorBytes);
    std::uint64_t expected = 0;
    for (const ByteRange& range : wide) expected += range.length;
    REQUIRE(bytes == expected);
  }
}
