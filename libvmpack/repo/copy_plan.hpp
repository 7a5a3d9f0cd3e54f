// SPDX-License-Identifier: Apache-2.0
// What a copy has to move: every frame that some snapshots need, where it lies, and which of them the other
// side has already.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {

using FrameNumbers = std::unordered_map<FrameDigest, std::uint32_t, DigestHash>;

/// A frame that the snapshots need.
struct PlannedFrame {
  FrameDigest digest;
  std::optional<FrameLocation> from;  ///< in the source
  std::optional<FrameLocation> to;    ///< on the other side, once it is there
  std::vector<std::uint32_t> bases;   ///< numbers of the frames that it stands on, as far as it has to move
};

struct PlannedSnapshot {
  SnapshotDigest snapshot;
  Manifest manifest;
  std::optional<FileTableDigest> files;
};

/// Where a frame may lie in the source, by what is known of the snapshot with that position.
using LocateFrame = std::function<std::vector<FrameLocation>(std::size_t snapshot, const FrameDigest& frame)>;

/// Says which of the wanted frames the other side has, and what a delta frame stands on there.
using FoundFrame = std::function<void(const FramePlace& frame, const std::vector<FramePlace>& bases)>;
using FindFrames = std::function<void(const FrameNumbers& wanted, const FoundFrame& found)>;

/// The two sides of a copy.
struct CopyEnds {
  std::shared_ptr<const Repository> source;
  LocateFrame locate;
  FindFrames find;
  Store* other = nullptr;  ///< where frames lie that find() found; null when they cannot be read from here
};

/// Frames of snapshots by number. Memory grows with the number of frames, not with what the two sides hold
/// besides. Not for use by two threads at once, but for read().
class CopyPlan {
 public:
  /// Reads the snapshots' maps and file tables, each node once. Throws kNotFound, kDamaged; kDamaged also
  /// where a frame is on neither side.
  CopyPlan(CopyEnds ends, std::span<const SnapshotDigest> snapshots);

  [[nodiscard]] const std::vector<PlannedSnapshot>& snapshots() const { return snapshots_; }
  [[nodiscard]] const std::vector<PlannedFrame>& frames() const { return frames_; }
  /// Numbers of all frames that one of the snapshots needs, bases included, sorted.
  [[nodiscard]] std::vector<std::uint32_t> frames_of(std::size_t snapshot) const;
  /// Where those lie on the other side, when all of them are there.
  [[nodiscard]] std::vector<FramePlace> places_of(std::size_t snapshot) const;
  /// Numbers of the frames that the other side lacks, in the order in which the snapshots meet them.
  [[nodiscard]] std::vector<std::uint32_t> missing() const;

  [[nodiscard]] std::uint32_t number(const FrameDigest& frame) const { return numbers_.at(frame); }
  /// A missing frame has arrived.
  void set_arrived(std::uint32_t number, const FrameLocation& location) { frames_[number].to = location; }

  /// Reads one of the frames, or what such a frame stands on, from where it lay when the plan was made. Any
  /// thread.
  [[nodiscard]] FramePtr read(const FrameDigest& frame) const;

 private:
  struct Node {
    std::uint32_t frame = 0;
    std::uint32_t snapshot = 0;  // the first that needs it
  };

  void add_snapshot(const SnapshotDigest& snapshot);
  std::uint32_t add_frame(const FrameDigest& frame, std::size_t snapshot);
  void settle_new_frames();
  void settle_bases();
  void settle_moved(const PackTables& tables, const PackDigest& pack, std::span<const std::uint32_t> numbers);
  template <typename Children>
  std::vector<Node> read_nodes(std::span<const Node> nodes, const Children& children);
  [[nodiscard]] std::vector<FrameLocation> candidates(std::uint32_t number) const;
  [[nodiscard]] std::vector<FrameLocation> locations(const FrameDigest& frame) const;
  [[nodiscard]] FramePtr read_base(const FrameDigest& base) const;
  void require_all() const;

  CopyEnds ends_;
  std::vector<PlannedSnapshot> snapshots_;
  std::vector<std::vector<std::uint32_t>> tops_;  // of each snapshot: directories, pages of its file table
  std::vector<MapRoot> roots_;
  std::vector<PlannedFrame> frames_;
  std::vector<std::uint32_t> first_snapshot_;  // of each frame
  FrameNumbers numbers_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> children_;
  std::unordered_map<std::uint32_t, std::vector<FrameLocation>> alike_;  // frames whose digests begin alike
  std::vector<std::uint32_t> new_frames_;                                // not settled yet
  mutable std::mutex mutex_;
  mutable std::unordered_map<FrameDigest, FramePtr, DigestHash> recent_bases_;  // guarded by mutex_
};

/// The frames that a repository's index knows, for CopyEnds::find. Keeps the index open.
class IndexedFrames {
 public:
  /// What lies in `condemned` packs does not count. Throws kDamaged, kUnsupported, kLimit.
  IndexedFrames(Store& store, const PackSet& condemned);
  ~IndexedFrames();
  IndexedFrames(const IndexedFrames&) = delete;
  IndexedFrames& operator=(const IndexedFrames&) = delete;

  /// Leaves out what lies, or stands on what lies, in a pack that is gone.
  void find(const FrameNumbers& wanted, const FoundFrame& found);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A small file that is named by the SHA-256 of its bytes. Throws kNotFound, kDamaged, kLimit.
[[nodiscard]] Bytes get_named(Store& store, const std::string& key, std::uint64_t bytes_max,
                              const Digest& digest);

/// By the snapshots' places.
[[nodiscard]] LocateFrame locate_by_places(Store& store, std::span<const SnapshotDigest> snapshots);

}  // namespace vmpack
