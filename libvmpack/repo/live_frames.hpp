// SPDX-License-Identifier: Apache-2.0
// What of a repository is in use: snapshots that something names, the small files that they stand on, and of
// each pack the frames. What gc works on, and what tells how much a snapshot alone takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// What references point to and what is held (leases.hpp), the newest first, each once. Throws kDamaged when
/// a reference or a lease cannot be read: it may name anything.
[[nodiscard]] std::vector<SnapshotDigest> named_snapshots(const Repository& repository);

/// A frame in a pack, by its place.
struct PackedFrame {
  std::uint64_t prefix = 0;  ///< first eight bytes of its digest
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;
  bool in_use = false;
};

struct PackInUse {
  PackDigest digest;
  std::uint64_t bytes = 0;          ///< of the file
  std::uint64_t used_bytes = 0;     ///< of frames in use
  std::vector<PackedFrame> frames;  ///< by offset

  [[nodiscard]] std::uint64_t unused_bytes() const;
  /// The frame that begins there, or null.
  [[nodiscard]] PackedFrame* frame_at(const FrameLocation& location);
};

/// Not for use by two threads at once. About 32 bytes of memory for each frame of the repository, and 40 for
/// each that is in use.
class LiveFrames {
 public:
  /// Reads the tables of all packs, then all that `snapshots` need, one after the other. Throws kNotFound and
  /// kDamaged where something that they need is not as it must be.
  LiveFrames(const Repository& repository, std::vector<SnapshotDigest> snapshots, Progress& progress);

  [[nodiscard]] const std::vector<SnapshotDigest>& snapshots() const { return snapshots_; }
  [[nodiscard]] const std::vector<PackInUse>& packs() const { return packs_; }
  [[nodiscard]] const PackInUse* pack(const PackDigest& digest) const;

  /// Whether the file of that key is needed. True for what is no part of any snapshot: references, leases,
  /// index files.
  [[nodiscard]] bool is_needed(const std::string& key) const;
  /// Whether a frame that begins like this is needed.
  [[nodiscard]] bool is_needed(std::uint64_t prefix) const { return order_.contains(prefix); }
  /// The lower, the earlier it is met: nodes of block maps before all others, those of the first snapshot
  /// before those of the next, in the order of the image. Of one that is needed.
  [[nodiscard]] std::uint64_t order(std::uint64_t prefix) const { return order_.at(prefix); }
  /// Whether it is a node of a block map, from what order() says.
  [[nodiscard]] static bool is_node(std::uint64_t order) { return order < kFirstData; }
  /// First eight bytes of frames in use that others in use stand on.
  [[nodiscard]] const std::unordered_set<std::uint64_t>& bases() const { return bases_; }

  /// Which version of the places of one of the snapshots was looked at.
  [[nodiscard]] const StoreVersion& places_version(const SnapshotDigest& snapshot) const {
    return places_versions_.at(snapshot);
  }

  /// Stored bytes of all frames in use, and of all others.
  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] std::uint64_t unused_bytes() const;

 private:
  static constexpr std::uint64_t kFirstData = std::uint64_t{1} << 48;

  void walk(const SnapshotDigest& snapshot);
  void read_packs(Progress& progress);
  void mark(const SnapshotDigest& snapshot);
  /// `nowhere`: places of the snapshot where no frame is.
  void require_unneeded(const SnapshotDigest& snapshot,
                        const std::unordered_map<std::uint64_t, FrameLocation>& nowhere,
                        const std::string& places) const;

  const Repository& repository_;
  std::vector<SnapshotDigest> snapshots_;
  std::unordered_set<SnapshotDigest, DigestHash> snapshot_set_;
  std::unordered_set<std::string> small_files_;
  std::unordered_map<std::uint64_t, std::uint64_t> order_;  // of each frame that is needed, by its prefix
  std::uint64_t next_node_ = 0;
  std::uint64_t next_data_ = kFirstData;
  std::unordered_set<std::uint64_t> bases_;
  std::unordered_multimap<std::uint64_t, std::uint64_t> bases_of_;  // of delta frames that are needed
  std::unordered_map<SnapshotDigest, StoreVersion, DigestHash> places_versions_;
  std::vector<PackInUse> packs_;  // sorted by digest
  std::unordered_map<PackDigest, std::size_t, DigestHash> pack_numbers_;
};

}  // namespace vmpack
