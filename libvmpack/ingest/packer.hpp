// SPDX-License-Identifier: Apache-2.0
// Turns cut objects into stored ones: dedup, frames, packs, the index of what is new, and where the image's
// bytes are.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/ingest/older_snapshot.hpp"
#include "libvmpack/ingest/window.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/writer_claims.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {

/// What an ingest added to the repository.
struct PackStatistics {
  std::uint64_t objects_new = 0;
  std::uint64_t bytes_new = 0;  ///< of new objects, before compression
  std::uint64_t frames_new = 0;
  std::uint64_t stored_bytes = 0;  ///< of new frames, as stored
  std::array<std::uint64_t, kObjectClassCount> stored_by_class{};
  std::uint64_t packs_new = 0;
};

/// A pack that a snapshot needs and its ingest did not write.
struct ReliedPack {
  PackDigest pack;
  std::uint64_t bytes_min = 0;  ///< where the last frame that is needed ends
};

/// A frame to be: new objects of one class in the order they will lie in it.
struct FramePlan {
  std::uint32_t number = 0;  ///< among all frames that the snapshot uses
  ObjectClass object_class = ObjectClass::kOpaque;
  std::vector<std::uint32_t> objects;  ///< in window.objects
  std::vector<ObjectRecord> records;
  std::vector<FrameDigest> older;  ///< of an older snapshot: what its objects were, probably
  std::uint64_t raw_bytes = 0;
  EncodedFrame encoded;  ///< after encode()
};

/// The serial heart of an ingest. While other writers are at work, as its claims tell it, it tells the index
/// of every finished pack at once, and leaves to them what they are about to store: such parts are put off,
/// and come again when the others are done with them. plan() is called for one window after the other, and so
/// is store(), in the same order; the two may run at the same time for different windows, and encode() for
/// several. The rest comes after the windows.
class Packer {
 public:
  /// `older` and `claims` may be null; without claims this takes itself to be alone. All must outlive this.
  Packer(const Repository& repository, ObjectIndex& index, OlderSnapshot* older, int level,
         WriterClaims* claims = nullptr);

  /// Decides for each object whether it is new, and in which frame it will lie. Records the image's segments.
  /// With `may_put_off`, not for parts of which others claim objects.
  std::vector<FramePlan> plan(const Window& window, std::span<const std::uint64_t> order, bool may_put_off);
  /// Compresses, on all cores; against the older snapshot's frames where that pays.
  void encode(const Window& window, std::vector<FramePlan>& frames) const;
  /// Writes the frames into the pack being built, and finishes packs that are full.
  void store(std::vector<FramePlan> frames);

  [[nodiscard]] bool has_put_off() const { return !put_off_.empty(); }
  /// The parts that were put off, in their order, to be planned again. Before, this tells the index of all
  /// that is stored, and waits until the others are done with what they claim, or make no progress. After the
  /// windows.
  [[nodiscard]] std::vector<Part> take_put_off();

  /// Stores `bytes` as one object in a frame of its own, or finds it stored. For map nodes and file-table
  /// pages.
  FrameDigest store_single(ObjectClass object_class, Bytes bytes);

  /// Finishes the last pack, then the index of what is new. After it, places() is complete.
  void finish();

  /// Segments of the image, sorted by disk offset, and the digests of the frames they name. Valid after the
  /// last store().
  [[nodiscard]] std::vector<MapSegment> take_segments();
  [[nodiscard]] std::vector<FrameDigest> frame_digests() const;
  [[nodiscard]] std::vector<FramePlace> places() const;
  /// Packs of others in which the places lie, sorted. Valid after finish().
  [[nodiscard]] std::vector<ReliedPack> relied_on() const;
  [[nodiscard]] const PackStatistics& statistics() const { return statistics_; }

 private:
  struct Spot {
    std::uint32_t frame;
    std::uint32_t offset;
  };
  struct Frame {
    FrameDigest digest;
    FrameLocation location;
    std::vector<FramePlace> bases;
  };
  /// A frame that this ingest made: what store() knows and plan() must not touch.
  struct MadeFrame {
    std::uint32_t number;
    Frame frame;
  };
  /// A frame in a pack that has no name yet.
  struct PendingFrame {
    std::size_t made;  // in made_
    std::uint64_t offset;
    std::uint32_t stored_bytes;
    std::vector<ObjectRecord> objects;
  };
  struct FinishedPack {
    PackDigest digest;
    bool is_own;
    std::uint64_t windows;  // so many, from the first one on, lie in this pack and those before
    std::vector<PendingFrame> frames;
  };

  struct FreshObject {
    std::uint32_t object;  // in window.objects
    std::uint64_t rank;
    std::vector<FrameDigest> older;
  };
  /// What plan() finds out first.
  struct Lookup {
    std::vector<std::uint32_t> unstored;  // in window.objects
    std::vector<bool> put_off;            // of each part
  };
  Lookup look_up(const Window& window, bool may_put_off);
  void put_off(const Window& window, const Lookup& lookup);
  std::vector<FreshObject> find_fresh(const Window& window, std::span<const std::uint64_t> order,
                                      const Lookup& lookup);
  void add_delta_frames(const Window& window, std::vector<FreshObject>& fresh,
                        std::vector<FramePlan>& frames);
  void add_frames(const Window& window, std::span<const FreshObject> fresh, std::vector<FramePlan>& frames);
  void add_object(const Window& window, std::uint32_t object, FramePlan& frame);
  void encode_frame_plan(const Window& window, FramePlan& frame) const;

  std::optional<Spot> find_stored(const ObjectDigest& digest);
  void find_stored(const Window& window);
  Spot add_stored(const ObjectDigest& digest, const ObjectLocation& location);
  void add_segments(const Window& window, const CutObject& object, Spot spot);
  std::uint32_t new_frame();
  void add_to_pack(FramePlan frame);
  void finish_pack();
  void wait_for_pack();
  void share_with_others();
  void publish();
  void wait_for_others();
  void unite_published();

  const Repository& repository_;
  ObjectIndex& index_;
  OlderSnapshot* older_;
  int level_;
  std::vector<Frame> frames_;  // by number; those in made_ are not filled in here
  std::vector<MadeFrame> made_;
  std::unordered_map<ObjectDigest, Spot, DigestHash> spots_;
  std::unordered_map<FrameDigest, std::uint32_t, DigestHash> stored_frames_;
  std::vector<MapSegment> segments_;
  std::unique_ptr<PackBuilder> pack_;  // null until a frame needs it
  std::vector<PendingFrame> pending_;
  std::future<FinishedPack> finished_;
  PackSet own_packs_;
  ObjectIndexBuilder new_index_;  // of what was not published yet

  WriterClaims* claims_;
  std::atomic<bool> others_at_work_ = false;
  std::uint64_t windows_planned_ = 0;
  std::uint64_t windows_stored_ = 0;
  std::uint64_t windows_finished_ = 0;  // in packs that have their names
  std::atomic<std::uint64_t> windows_published_ = 0;
  std::chrono::steady_clock::time_point pack_begun_;
  std::vector<std::string> published_;  // keys of index files
  std::vector<Part> put_off_;
  std::vector<ObjectDigest> awaited_;
  PackStatistics statistics_;
};

}  // namespace vmpack
