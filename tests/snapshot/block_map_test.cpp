// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/block_map.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using vmpack::test::error_of;
using vmpack::test::Random;

namespace {

FrameDigest frame_digest(std::uint32_t number) { return FrameDigest(sha256(struct_bytes(number))); }

/// Keeps nodes by a digest of their bytes, as frames would.
struct Nodes {
  std::map<FrameDigest, Bytes> kept;
  StoreMapNode store() {
    return [this](Bytes node) {
      const FrameDigest digest(sha256(node));
      kept.insert_or_assign(digest, std::move(node));
      return digest;
    };
  }
};

struct Spot {
  FrameDigest frame;
  std::uint64_t offset;
};

/// Where every sector's bytes are, by the decoded map.
std::map<std::uint64_t, Spot> sectors_of(const MapRoot& root, const Nodes& nodes) {
  std::map<std::uint64_t, Spot> sectors;
  for (const MapChild& child : root.directories) {
    for (const MapChild& entry : decode_map_directory(nodes.kept.at(child.frame), root, "directory").pages) {
      const std::uint64_t region = std::uint64_t{child.index} * root.regions_per_directory + entry.index;
      const MapPage page = decode_map_page(nodes.kept.at(entry.frame), root, "page");
      for (const PageRun& run : page.runs) {
        for (std::uint64_t i = 0; i < run.length; ++i) {
          sectors[region * root.region_bytes / kSectorBytes + run.start + i] = {
              page.frames[run.frame], run.offset + i * kSectorBytes};
        }
      }
    }
  }
  return sectors;
}

}  // namespace

TEST_CASE("the map gives each sector's place back, over region and directory borders") {
  Random random(7);
  std::vector<MapSegment> segments;
  std::vector<FrameDigest> frames;
  for (std::uint32_t i = 0; i < 50; ++i) frames.push_back(frame_digest(i));
  std::uint64_t at = 0;
  for (int i = 0; i < 3000; ++i) {
    at += random.below(3) == 0 ? random.below(2000) * kSectorBytes : 0;
    const std::uint64_t length = (1 + random.below(512)) * kSectorBytes;
    segments.push_back({at, length, static_cast<std::uint32_t>(random.below(50)),
                        static_cast<std::uint32_t>(random.below(512) * kSectorBytes)});
    at += length;
  }
  Nodes nodes;
  const MapRoot built = build_block_map(round_up(at, kSectorBytes), segments, frames, nodes.store());
  const MapRoot root = decode_map_root(encode(built), "root");
  CHECK(root.directories.size() > 1);
  const auto sectors = sectors_of(root, nodes);
  std::uint64_t expected = 0;
  for (const MapSegment& segment : segments) {
    for (std::uint64_t i = 0; i < segment.length / kSectorBytes; ++i, ++expected) {
      const auto found = sectors.find(segment.disk_offset / kSectorBytes + i);
      REQUIRE(found != sectors.end());
      REQUIRE(found->second.frame == frames[segment.frame]);
      REQUIRE(found->second.offset == segment.offset + i * kSectorBytes);
    }
  }
  CHECK(sectors.size() == expected);
}

TEST_CASE("an image of zeros has a root alone, of any size") {
  for (const std::uint64_t size : {std::uint64_t{0}, 512 * kKiB, kTiB, 16 * kTiB}) {
    Nodes nodes;
    const MapRoot root = build_block_map(size, {}, {}, nodes.store());
    CHECK(nodes.kept.empty());
    CHECK(decode_map_root(encode(root), "root").image_bytes == size);
  }
}

TEST_CASE("a root never has more than 2048 directories") {
  CHECK(region_bytes_for(0) == kMiB);
  CHECK(region_bytes_for(512 * kGiB) == kMiB);
  CHECK(region_bytes_for(512 * kGiB + 512) == 2 * kMiB);
  CHECK(region_bytes_for(16 * kTiB) == 32 * kMiB);
}

TEST_CASE("equal regions of two images share a page") {
  Nodes nodes;
  const std::vector<FrameDigest> frames = {frame_digest(1), frame_digest(2)};
  const std::vector<MapSegment> one = {{0, 4096, 0, 0}, {kMiB, 4096, 1, 0}};
  const std::vector<MapSegment> two = {{0, 8192, 1, 0}, {kMiB, 4096, 1, 0}};
  (void)build_block_map(2 * kMiB, one, frames, nodes.store());
  const std::size_t before = nodes.kept.size();
  (void)build_block_map(2 * kMiB, two, frames, nodes.store());
  CHECK(nodes.kept.size() == before + 2);  // one page and the directory
}

TEST_CASE("pages that lie are refused") {
  const MapRoot root{kGiB, kMiB, 256, {}};
  const auto refused = [&](const MapPage& page) {
    return error_of([&] { (void)decode_map_page(encode(page), root, "page x"); }).code() ==
           ErrorCode::kDamaged;
  };
  const std::vector<FrameDigest> frames = {frame_digest(1)};
  CHECK(refused({frames, {{0, 8, 1, 0}}}));                      // a frame that is not listed
  CHECK(refused({frames, {{8, 8, 0, 0}, {0, 8, 0, 0}}}));        // out of order
  CHECK(refused({frames, {{0, 8, 0, 0}, {7, 8, 0, 0}}}));        // overlapping
  CHECK(refused({frames, {{2047, 2, 0, 0}}}));                   // over the region's end
  CHECK(refused({frames, {{0, 0, 0, 0}}}));                      // empty
  CHECK(refused({frames, {{0, 8, 0, 100}}}));                    // within a sector
  CHECK(refused({frames, {{0, 2048, 0, 0xfffffe00U}}}));         // behind any frame
  CHECK(refused({frames, {{0xffffffffU, 0xffffffffU, 0, 0}}}));  // wild
  CHECK(error_of([&] { (void)decode_map_page(Bytes(40), root, "page x"); }).code() == ErrorCode::kDamaged);
}
