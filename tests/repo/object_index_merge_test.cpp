// SPDX-License-Identifier: Apache-2.0
// Merging and rebuilding the object index, held against a model of what it must say.
#include "libvmpack/repo/object_index_merge.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/object_index_rebuild.hpp"
#include "tests/support/files.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::Random;

namespace {

Digest digest_of(std::uint64_t number) { return sha256(struct_bytes(number)); }

/// A frame of a made-up repository. Its digest is that of its number.
struct ModelFrame {
  FrameLocation old_place;
  std::vector<std::uint64_t> bases;  // numbers
  std::vector<ObjectRecord> objects;
  std::vector<bool> listed;  // of each object: its file lists it here, not in an earlier frame
  std::optional<FrameLocation> now;
};

/// Frames with objects, many of them in several frames, and index files that list them.
struct Model {
  std::vector<ModelFrame> frames;
  std::vector<std::string> keys;

  Model(Store& store, std::uint64_t seed) {
    Random random(seed);
    const std::uint64_t objects_known = 1 + random.below(2000);
    for (std::uint64_t file = 0; file < 1 + random.below(9); ++file) add_file(store, random, objects_known);
    std::ranges::sort(keys);
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  }

  [[nodiscard]] PlaceFrame place() const {
    return [this](const FrameDigest& digest, const FrameLocation& location) -> std::optional<FrameLocation> {
      const auto found =
          std::ranges::find_if(frames, [&](const ModelFrame& frame) { return frame.old_place == location; });
      REQUIRE(found != frames.end());
      REQUIRE(FrameDigest(digest_of(static_cast<std::uint64_t>(found - frames.begin()))) == digest);
      return found->now;
    };
  }

  [[nodiscard]] bool is_there(const ModelFrame& frame) const {
    return frame.now &&
           std::ranges::all_of(frame.bases, [&](std::uint64_t base) { return frames[base].now.has_value(); });
  }

  /// What a place in an index must be one of, by object.
  [[nodiscard]] std::map<Digest, std::set<std::pair<Digest, std::uint32_t>>> objects_there(
      bool no_deltas) const {
    std::map<Digest, std::set<std::pair<Digest, std::uint32_t>>> there;
    for (std::uint64_t i = 0; i < frames.size(); ++i) {
      if (!is_there(frames[i]) || (no_deltas && !frames[i].bases.empty())) continue;
      std::uint64_t at = 0;
      for (std::size_t k = 0; k < frames[i].objects.size(); ++k) {
        const ObjectRecord& object = frames[i].objects[k];
        if (frames[i].listed[k]) there[object.digest].emplace(digest_of(i), static_cast<std::uint32_t>(at));
        at = next_object_offset(at, object.bytes);
      }
    }
    return there;
  }

 private:
  void add_file(Store& store, Random& random, std::uint64_t objects_known) {
    ObjectIndexBuilder builder;
    std::set<std::uint64_t> listed;
    for (std::uint64_t pack = 0; pack < 1 + random.below(3); ++pack) {
      const PackDigest digest(digest_of(random.next()));
      builder.add_pack(digest);
      for (std::uint64_t i = 0; i < random.below(40); ++i)
        add_frame(builder, random, {digest, 16 + i * 5000, 4000}, objects_known, listed);
    }
    if (!builder.empty()) keys.push_back(index_key(builder.write(store)));
  }

  void add_frame(ObjectIndexBuilder& builder, Random& random, const FrameLocation& location,
                 std::uint64_t objects_known, std::set<std::uint64_t>& listed) {
    ModelFrame frame{location, {}, {}, {}, {}};
    if (random.below(3) > 0) {
      frame.now = FrameLocation{PackDigest(digest_of(random.below(20))), random.below(1 << 20),
                                frame.old_place.stored_bytes};
    }
    std::vector<FramePlace> bases;
    for (std::uint64_t base = random.below(6); base < 2 && !frames.empty(); ++base) {
      const std::uint64_t number = random.below(frames.size());
      if (!frames[number].bases.empty()) continue;
      frame.bases.push_back(number);
      bases.push_back({FrameDigest(digest_of(number)), frames[number].old_place});
    }
    for (std::uint64_t k = 0; k < 1 + random.below(8); ++k) {
      const std::uint64_t number = random.below(objects_known);
      frame.listed.push_back(listed.insert(number).second);
      frame.objects.push_back(
          {ObjectDigest(digest_of(~number)), static_cast<std::uint32_t>(1 + number % 3000)});
    }
    builder.add_frame(FrameDigest(digest_of(frames.size())), frame.old_place.offset,
                      frame.old_place.stored_bytes, frame.objects, bases);
    frames.push_back(std::move(frame));
  }
};

void check_location(const Model& model, const ObjectLocation& location) {
  const auto number =
      std::ranges::find_if(model.frames, [&, i = std::uint64_t{0}](const ModelFrame&) mutable {
        return FrameDigest(digest_of(i++)) == location.frame;
      });
  REQUIRE(number != model.frames.end());
  CHECK(location.location == *number->now);
  REQUIRE(location.bases.size() == number->bases.size());
  for (std::size_t i = 0; i < location.bases.size(); ++i) {
    CHECK(location.bases[i].frame == FrameDigest(digest_of(number->bases[i])));
    CHECK(location.bases[i].location == *model.frames[number->bases[i]].now);
  }
}

void check_merged(Store& store, const Model& model, std::span<const Digest> merged,
                  std::uint64_t objects_max) {
  const auto there = model.objects_there(false);
  const auto whole = model.objects_there(true);
  std::set<Digest> found;
  for (const Digest& digest : merged) {
    const auto file = ObjectIndexFile::open(store, index_key(digest));
    REQUIRE(file->digest() == digest);
    CHECK(file->object_count() <= objects_max);
    std::optional<Digest> last;
    file->for_each([&](const ObjectDigest& object, const ObjectLocation& location) {
      REQUIRE((!last || *last < object));
      last = object;
      found.insert(object);
      const auto may = there.find(object);
      REQUIRE(may != there.end());
      CHECK(may->second.contains({location.frame, location.offset}));
      check_location(model, location);
      if (merged.size() == 1 && whole.contains(object)) CHECK(location.bases.empty());
      CHECK(file->find(object)->frame == location.frame);
    });
  }
  CHECK(found.size() == there.size());
}

/// Packs of one frame each; every third frame stands on the one before, or on what is nowhere.
std::vector<PackDigest> make_packs(Store& store, std::uint64_t count) {
  std::vector<PackDigest> packs;
  FrameBase base;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Bytes raw = test::random_bytes(i, 8 * kKiB);
    const ObjectRecord object{ObjectDigest(sha256(raw)), static_cast<std::uint32_t>(raw.size())};
    EncodedFrame frame = i % 3 == 1 ? encode_delta_frame(ObjectClass::kOpaque, 1, raw, 3, std::span(&base, 1))
                                    : encode_frame(ObjectClass::kOpaque, 1, raw, 3);
    base = {frame.digest,
            decode_frame(frame.stored, frame.digest, "test", [&](const FrameDigest&) { return base.frame; })};
    PackBuilder builder(store);
    builder.add(std::move(frame), std::span(&object, 1));
    packs.push_back(builder.finish());
  }
  return packs;
}

}  // namespace

TEST_CASE("a merged index says where every object is that is still there, and nothing else") {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    INFO("seed " << seed);
    test::MemoryStore store;
    const Model model(store, seed);
    const std::uint64_t objects_max = seed % 3 == 0 ? 1 + seed * 7 : 1'000'000;
    const auto merged = merge_index_files(store, model.keys, model.place(), objects_max);
    check_merged(store, model, merged, objects_max);
    if (objects_max == 1'000'000) CHECK(merged.size() <= 1);

    std::vector<std::string> reversed(model.keys.rbegin(), model.keys.rend());
    CHECK(merge_index_files(store, reversed, model.place(), objects_max) == merged);
    for (const std::string& key : model.keys) CHECK(store.stat(key));
  }
}

TEST_CASE("merging the result of a merge changes nothing") {
  test::MemoryStore store;
  const Model model(store, 7);
  const auto merged = merge_index_files(store, model.keys, model.place());
  std::vector<std::string> keys;
  for (const Digest& digest : merged) keys.push_back(index_key(digest));
  const auto stays = [](const FrameDigest&, const FrameLocation& location) {
    return std::optional(location);
  };
  CHECK(merge_index_files(store, keys, stays) == merged);
}

TEST_CASE("an index that nothing is left of leaves no file") {
  test::MemoryStore store;
  const Model model(store, 3);
  const auto gone = [](const FrameDigest&, const FrameLocation&) { return std::optional<FrameLocation>(); };
  CHECK(merge_index_files(store, model.keys, gone).empty());
  CHECK(merge_index_files(store, {}, gone).empty());
}

TEST_CASE("an index rebuilt from packs finds every object, and leaves out what cannot be read") {
  const test::TempDir folder;
  const auto store = open_directory_store(folder.path());
  std::vector<PackDigest> packs = make_packs(*store, 40);
  std::ranges::reverse(packs);  // bases come after what stands on them
  NoProgress progress;
  const RebuiltIndex rebuilt = rebuild_index(*store, packs, progress, 10);
  CHECK(rebuilt.damaged.empty());
  CHECK(rebuilt.objects == 40);
  CHECK(rebuilt.files.size() == 4);
  auto index = ObjectIndex::open(*store);
  for (std::uint64_t i = 0; i < 40; ++i) {
    const Bytes raw = test::random_bytes(i, 8 * kKiB);
    const auto found = index->find(ObjectDigest(sha256(raw)));
    REQUIRE(found);
    const auto read_base = [&](const FrameDigest& base) {
      REQUIRE(found->bases.size() == 1);
      CHECK(found->bases.front().frame == base);
      return read_frame(*store, base, found->bases.front().location);
    };
    CHECK(std::ranges::equal(read_frame(*store, found->frame, found->location, read_base)->bytes, raw));
  }

  for (const Digest& file : rebuilt.files) store->remove(index_key(file));
  store->remove(pack_key(packs.back()));  // the first one: the second stands on it
  const std::string damaged = folder / pack_key(packs.front());
  Bytes bytes = test::read_file(damaged);
  bytes.back() ^= std::byte{1};
  test::write_file(damaged, bytes);
  const RebuiltIndex rest = rebuild_index(*store, packs, progress);
  CHECK(rest.damaged == std::vector{packs.front(), packs.back()});
  CHECK(rest.objects == 37);
  CHECK(rest.frames_left_out == 1);
}
