// SPDX-License-Identifier: Apache-2.0
// Moves frames as they are stored, never encoded anew, into packs of the same store or of another one: each
// one's SHA-256 is checked on the way, and those of its objects where they come from elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Reads that are under way at once: a store far away answers them together.
inline constexpr unsigned kReadsAtOnce = 8;

struct MovedFrame {
  FrameDigest digest;
  std::uint64_t offset = 0;  ///< in its new pack
  std::uint32_t stored_bytes = 0;
  std::vector<ObjectRecord> objects;
  std::vector<FrameDigest> bases;  ///< of a delta frame
};

/// A pack that was written, durable.
struct MovedPack {
  PackDigest pack;
  std::vector<MovedFrame> frames;
};

/// A frame that shall move, and where it lies now.
struct FrameToMove {
  FrameDigest digest;
  FrameLocation from;
};

/// What becomes of packs of which every frame moves.
enum class WholePacks : std::uint8_t {
  kKept,    ///< they keep their cut, and with it their name
  kMerged,  ///< they are like any other
};

/// Frames go into packs of `pack_bytes_target`, pack by pack, in the order in which they are given. At most
/// 64 MiB of frames are in memory, and the tables of a few packs. Not for use by two threads at once.
class FrameMover {
 public:
  using Finished = std::function<void(MovedPack pack)>;

  /// Both stores must outlive this. `read_base` hands out what delta frames stand on, on any thread; without
  /// it frames are not decoded, and their objects not checked. `finished` is told of each pack as soon as it
  /// is durable.
  FrameMover(Store& from, Store& to, std::uint64_t pack_bytes_target, WholePacks whole_packs,
             BaseReader read_base, Finished finished);
  ~FrameMover();
  FrameMover(const FrameMover&) = delete;
  FrameMover& operator=(const FrameMover&) = delete;

  /// Throws what reading and writing throw, kDamaged for a frame that is not what it must be. What was
  /// verified before that goes into the next finish().
  void move(std::span<const FrameToMove> frames, Progress& progress);

  /// Finishes the last pack.
  void finish();

 private:
  class Packing;

  Store& from_;
  WholePacks whole_packs_;
  BaseReader read_base_;
  std::unique_ptr<Packing> whole_;  // of a pack that keeps its cut
  std::unique_ptr<Packing> rest_;
};

}  // namespace vmpack
