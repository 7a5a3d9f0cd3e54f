// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/block_map_update.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "libvmpack/base/byte_ranges.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;
using vmpack::test::Random;

namespace {

constexpr std::uint32_t kFrames = 40;

std::vector<FrameDigest> frame_digests() {
  std::vector<FrameDigest> digests;
  for (std::uint32_t i = 0; i < kFrames; ++i) digests.emplace_back(sha256(struct_bytes(i)));
  return digests;
}

/// Keeps nodes by a digest of their bytes, as frames would, and counts how many are read and made.
struct Nodes {
  std::map<FrameDigest, Bytes> kept;
  std::size_t read = 0;
  std::size_t made = 0;

  StoreMapNode store() {
    return [this](Bytes node) {
      ++made;
      const FrameDigest digest(sha256(node));
      kept.insert_or_assign(digest, std::move(node));
      return digest;
    };
  }
  ParentMap parent(const MapRoot& root) {
    return {root,
            [this, &root](const FrameDigest& frame) {
              ++read;
              return decode_map_directory(kept.at(frame), root, "directory");
            },
            [this, &root](const FrameDigest& frame) {
              ++read;
              return decode_map_page(kept.at(frame), root, "page");
            }};
  }
};

/// A disk as a list of segments that can be overwritten.
class Model {
 public:
  explicit Model(std::uint64_t image_bytes) : image_bytes_(image_bytes) {}

  void replace(std::span<const ByteRange> changed, std::span<const MapSegment> segments) {
    std::vector<MapSegment> kept;
    for (const MapSegment& segment : segments_) {
      const ByteRange whole{segment.disk_offset, segment.length};
      for (const ByteRange& left : without({&whole, 1}, changed)) {
        kept.push_back({left.offset, left.length, segment.frame,
                        static_cast<std::uint32_t>(segment.offset + (left.offset - whole.offset))});
      }
    }
    kept.insert(kept.end(), segments.begin(), segments.end());
    std::ranges::sort(kept, {}, &MapSegment::disk_offset);
    segments_ = std::move(kept);
  }
  void grow(std::uint64_t image_bytes) { image_bytes_ = image_bytes; }
  [[nodiscard]] std::uint64_t image_bytes() const { return image_bytes_; }
  [[nodiscard]] const std::vector<MapSegment>& segments() const { return segments_; }

 private:
  std::uint64_t image_bytes_;
  std::vector<MapSegment> segments_;
};

struct Change {
  std::vector<ByteRange> changed;
  std::vector<MapSegment> segments;
};

/// Ranges of all lengths, in part mapped anew and in part zero from now on.
Change random_change(Random& random, std::uint64_t image_bytes) {
  Change change;
  for (std::uint64_t count = 1 + random.below(12); count > 0; --count) {
    const std::uint64_t offset = random.below(image_bytes / kSectorBytes) * kSectorBytes;
    const std::uint64_t length = (1 + random.below(random.below(4) == 0 ? 9000 : 40)) * kSectorBytes;
    change.changed.push_back({offset, std::min(length, image_bytes - offset)});
  }
  sort_and_join(change.changed);
  for (const ByteRange& range : change.changed) {
    for (std::uint64_t at = range.offset; at < range.end();) {
      const std::uint64_t length = std::min((1 + random.below(64)) * kSectorBytes, range.end() - at);
      if (random.below(3) != 0) {
        change.segments.push_back({at, length, static_cast<std::uint32_t>(random.below(kFrames)),
                                   static_cast<std::uint32_t>(random.below(512) * kSectorBytes)});
      }
      at += length;
    }
  }
  return change;
}

}  // namespace

TEST_CASE("an updated map is byte for byte the map that is built from scratch") {
  const std::vector<FrameDigest> frames = frame_digests();
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    Model model((1 + random.below(600)) * kMiB + random.below(8) * kSectorBytes);
    Nodes nodes;
    MapRoot root = build_block_map(model.image_bytes(), {}, frames, nodes.store());
    for (int step = 0; step < 15; ++step) {
      INFO("step " << step);
      if (random.below(5) == 0) model.grow(model.image_bytes() + random.below(5000) * kSectorBytes);
      const Change change = random_change(random, model.image_bytes());
      const std::uint64_t before = [&] {
        std::uint64_t bytes = 0;
        for (const MapSegment& segment : model.segments()) bytes += segment.length;
        return bytes;
      }();
      model.replace(change.changed, change.segments);
      const MapRoot parent = root;
      const UpdatedMap updated = update_block_map(nodes.parent(parent), model.image_bytes(), change.changed,
                                                  change.segments, frames, nodes.store());
      root = updated.root;
      const MapRoot built = build_block_map(model.image_bytes(), model.segments(), frames, nodes.store());
      REQUIRE(encode(root) == encode(built));
      std::uint64_t after = 0;
      for (const MapSegment& segment : model.segments()) after += segment.length;
      REQUIRE(before + updated.bytes_after - updated.bytes_before == after);
    }
  }
}

TEST_CASE("an update reads and makes only the nodes that lie over a change") {
  const std::vector<FrameDigest> frames = frame_digests();
  std::vector<MapSegment> segments;
  for (std::uint64_t region = 0; region < 2000; ++region) {
    segments.push_back({region * kMiB, 64 * kKiB, static_cast<std::uint32_t>(region % kFrames), 0});
  }
  Nodes nodes;
  const MapRoot parent = build_block_map(4 * kGiB, segments, frames, nodes.store());
  nodes.made = 0;
  const std::vector<ByteRange> changed{{100 * kMiB - 4096, 8192}};
  const std::vector<MapSegment> anew{{100 * kMiB - 4096, 8192, 1, 0}};
  const MapRoot root =
      update_block_map(nodes.parent(parent), 4 * kGiB, changed, anew, frames, nodes.store()).root;
  CHECK(nodes.read == 3);  // a directory and two pages
  CHECK(nodes.made == 3);
  REQUIRE(root.directories.size() == parent.directories.size());
  CHECK(root.directories[0].frame != parent.directories[0].frame);
  for (std::size_t i = 1; i < root.directories.size(); ++i) {
    CHECK(root.directories[i].frame == parent.directories[i].frame);
  }
}

TEST_CASE("zeroing all of a disk leaves a root alone") {
  const std::vector<FrameDigest> frames = frame_digests();
  const std::vector<MapSegment> segments{{0, kMiB, 0, 0}, {700 * kMiB, kMiB, 1, 0}};
  Nodes nodes;
  const MapRoot parent = build_block_map(kGiB, segments, frames, nodes.store());
  const std::vector<ByteRange> all{{0, kGiB}};
  CHECK(
      update_block_map(nodes.parent(parent), kGiB, all, {}, frames, nodes.store()).root.directories.empty());
}

TEST_CASE("a disk that grows beyond what its regions are made for keeps them") {
  const std::vector<FrameDigest> frames = frame_digests();
  const std::vector<MapSegment> segments{{0, kMiB, 0, 0}};
  Nodes nodes;
  const MapRoot parent = build_block_map(512 * kGiB, segments, frames, nodes.store());
  const std::vector<ByteRange> changed{{600 * kGiB, 4096}};
  const std::vector<MapSegment> anew{{600 * kGiB, 4096, 1, 0}};
  const MapRoot root =
      update_block_map(nodes.parent(parent), kTiB, changed, anew, frames, nodes.store()).root;
  CHECK(root.region_bytes == kMiB);
  CHECK(decode_map_root(encode(root), "root").directories.size() == 2);
}
