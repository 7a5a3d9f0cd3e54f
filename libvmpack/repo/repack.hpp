// SPDX-License-Identifier: Apache-2.0
// Moves frames in use out of packs that hold little else than dead ones, and out of small packs: into new
// packs, where the nodes of block maps lie side by side.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/live_frames.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// Packs that are worth leaving: all in which dead frames take at least a fifth, and more, the deadest first,
/// until what is left behind is a tenth of all that is dead; and small packs, where there are several of
/// them. Without those in which nothing is in use.
[[nodiscard]] std::vector<const PackInUse*> packs_to_leave(const LiveFrames& live,
                                                           std::uint64_t pack_bytes_target);

/// Where frames were moved to.
class MovedFrames {
 public:
  void add(const FrameLocation& from, const FrameLocation& to);
  /// Where a frame is now that was there; nullopt when it was not moved.
  [[nodiscard]] std::optional<FrameLocation> find(const FrameLocation& from) const;
  [[nodiscard]] bool empty() const { return places_.empty(); }
  [[nodiscard]] std::uint64_t count() const { return places_.size(); }

 private:
  struct Place {
    std::uint32_t pack;
    std::uint64_t offset;
  };
  /// The number of the pack and the offset in it, which is below 2^32.
  [[nodiscard]] static std::uint64_t key(std::uint32_t pack, std::uint64_t offset) {
    return std::uint64_t{pack} << 32 | offset;
  }
  std::uint32_t number_of(const PackDigest& pack);

  std::unordered_map<PackDigest, std::uint32_t, DigestHash> numbers_;
  std::vector<PackDigest> packs_;
  std::unordered_map<std::uint64_t, Place> places_;
};

struct Repacked {
  MovedFrames moved;
  std::vector<PackDigest> packs;  ///< that were written
  std::uint64_t bytes = 0;
};

/// Copies the frames in use of `leave` into new packs, durable on return; nothing is removed, and nothing
/// points there yet. Each frame's SHA-256 is checked.
[[nodiscard]] Repacked repack(const Repository& repository, const LiveFrames& live,
                              const std::vector<const PackInUse*>& leave, Progress& progress);

}  // namespace vmpack
