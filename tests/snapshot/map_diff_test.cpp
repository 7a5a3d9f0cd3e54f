// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/map_diff.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "libvmpack/base/byte_ranges.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using vmpack::test::Random;

namespace {

/// A map in memory that counts what is read of it.
class Map {
 public:
  Map(std::uint64_t image_bytes, const std::vector<MapSegment>& segments) {
    for (std::uint32_t i = 0; i < 64; ++i) frames_.emplace_back(sha256(struct_bytes(i)));
    root_ = build_block_map(image_bytes, segments, frames_, [this](Bytes node) {
      const FrameDigest digest(sha256(node));
      nodes_.insert_or_assign(digest, std::move(node));
      return digest;
    });
  }

  [[nodiscard]] MapNodes nodes() {
    return {root_, [this](std::uint32_t number) {
              ++directories_read;
              const auto child = std::ranges::find(root_.directories, number, &MapChild::index);
              return decode_map_directory(nodes_.at(child->frame), root_, "directory");
            }};
  }
  [[nodiscard]] std::optional<MapPage> page(const std::optional<PagePlace>& place) const {
    if (!place) return std::nullopt;
    return decode_map_page(nodes_.at(place->frame), root_, "page");
  }

  int directories_read = 0;

 private:
  std::vector<FrameDigest> frames_;
  std::map<FrameDigest, Bytes> nodes_;
  MapRoot root_;
};

/// Frame and offset of each sector, in one number; 0 for zeros.
using Sectors = std::map<std::uint64_t, std::uint64_t>;

Sectors sectors_of(const std::vector<MapSegment>& segments) {
  Sectors sectors;
  for (const MapSegment& segment : segments) {
    for (std::uint64_t at = 0; at < segment.length; at += kSectorBytes) {
      sectors[(segment.disk_offset + at) / kSectorBytes] =
          (std::uint64_t{segment.frame} + 1) << 32 | (segment.offset + at);
    }
  }
  return sectors;
}

/// What two maps really have in different spots.
std::vector<ByteRange> expected_ranges(const std::vector<MapSegment>& before,
                                       const std::vector<MapSegment>& after) {
  const Sectors old_sectors = sectors_of(before);
  const Sectors new_sectors = sectors_of(after);
  std::vector<ByteRange> ranges;
  const auto add = [&](const Sectors& some, const Sectors& others) {
    for (const auto& [sector, spot] : some) {
      const auto other = others.find(sector);
      if (other == others.end() || other->second != spot)
        ranges.push_back({sector * kSectorBytes, kSectorBytes});
    }
  };
  add(old_sectors, new_sectors);
  add(new_sectors, old_sectors);
  sort_and_join(ranges);
  return ranges;
}

std::vector<ByteRange> found_ranges(Map& before, Map& after) {
  std::vector<ByteRange> ranges;
  for (const PagePair& pair : different_pages(before.nodes(), after.nodes())) {
    const auto old_page = before.page(pair.before);
    const auto new_page = after.page(pair.after);
    for_each_difference(pair, old_page ? &*old_page : nullptr, new_page ? &*new_page : nullptr,
                        [&](const MapDifference& difference) {
                          CHECK(difference.before != difference.after);
                          ranges.push_back(difference.disk);
                        });
  }
  sort_and_join(ranges);
  return ranges;
}

std::vector<MapSegment> random_segments(Random& random, std::uint64_t image_bytes) {
  std::vector<MapSegment> segments;
  for (std::uint64_t at = random.below(64) * kSectorBytes; at < image_bytes;) {
    const std::uint64_t length = std::min((1 + random.below(512)) * kSectorBytes, image_bytes - at);
    segments.push_back({at, length, static_cast<std::uint32_t>(random.below(64)),
                        static_cast<std::uint32_t>(random.below(64) * kSectorBytes)});
    at += length + (random.below(4) == 0 ? random.below(8192) * kSectorBytes : 0);
  }
  return segments;
}

/// A few segments are gone, or lie elsewhere.
std::vector<MapSegment> changed(Random& random, std::vector<MapSegment> segments) {
  for (int i = 0; i < 5; ++i) {
    MapSegment& segment = segments[random.below(segments.size())];
    segment.frame = static_cast<std::uint32_t>(random.below(64));
  }
  segments.erase(segments.begin() + static_cast<std::ptrdiff_t>(random.below(segments.size())));
  return segments;
}

}  // namespace

TEST_CASE("maps differ where a look at every sector finds it") {
  constexpr std::uint64_t kImage = 24 * kMiB;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    const auto segments = random_segments(random, kImage);
    const auto others = seed % 4 == 0 ? random_segments(random, kImage) : changed(random, segments);
    Map before(kImage, segments);
    Map after(kImage, others);
    CHECK(found_ranges(before, after) == expected_ranges(segments, others));
  }
}

TEST_CASE("maps of two sizes are compared, also where their regions are not equally large") {
  for (const std::uint64_t other_image : {40 * kMiB, 700 * kGiB, 3 * kTiB}) {
    Random random(other_image);
    const auto segments = random_segments(random, 64 * kMiB);
    auto others = changed(random, segments);
    std::erase_if(others, [&](const MapSegment& segment) {
      return segment.disk_offset + segment.length > other_image;
    });
    if (other_image > kTiB) others.push_back({2 * kTiB, 4096, 3, 0});
    Map before(64 * kMiB, segments);
    Map after(other_image, others);
    CHECK(found_ranges(before, after) == expected_ranges(segments, others));
    CHECK(found_ranges(after, before) == expected_ranges(segments, others));
  }
}

TEST_CASE("only directories that differ are read") {
  constexpr std::uint64_t kImage = 256 * kGiB;
  std::vector<MapSegment> segments;
  for (std::uint64_t at = 0; at < kImage; at += kGiB) segments.push_back({at, 4096, 1, 0});
  auto others = segments;
  others[100].frame = 2;
  Map before(kImage, segments);
  Map after(kImage, others);
  CHECK(found_ranges(before, after) == std::vector<ByteRange>{{100 * kGiB, 4096}});
  CHECK(before.directories_read == 1);
  CHECK(after.directories_read == 1);
  Map same(kImage, segments);
  CHECK(found_ranges(same, before).empty());
  CHECK(same.directories_read == 0);
}

TEST_CASE("an image of zeros differs where the other one has something") {
  Map nothing(8 * kMiB, {});
  const std::vector<MapSegment> segments = {{4096, 8192, 1, 0}, {3 * kMiB - 512, 1024, 2, 512}};
  Map something(8 * kMiB, segments);
  CHECK(found_ranges(nothing, something) == expected_ranges({}, segments));
  CHECK(found_ranges(something, nothing) == expected_ranges({}, segments));
  CHECK(found_ranges(nothing, nothing).empty());
}
