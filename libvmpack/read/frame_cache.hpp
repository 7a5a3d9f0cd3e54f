// SPDX-License-Identifier: Apache-2.0
// Decoded, verified frames in memory, shared by every open image, bounded in bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/frame.hpp"

namespace vmpack {

/// What a cache should have at least: less may not hold a frame in each of its parts.
inline constexpr std::uint64_t kFrameCacheBytesMin = 64 * kMiB;

/// Least recently used goes first. Every method may be called from any thread.
class FrameCache {
 public:
  /// Holds at most `bytes_max` of decoded frames; one that is larger on its own is handed out and not kept.
  explicit FrameCache(std::uint64_t bytes_max);
  ~FrameCache();
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;

  /// The frame if it is here, else nullptr. Never waits for a load.
  [[nodiscard]] FramePtr find(const FrameDigest& digest);

  /// The frame, by `load` if it is not here. Of several threads that ask at once one loads and the others
  /// wait for it; if it throws, all of them see the error and the next caller tries again.
  [[nodiscard]] FramePtr get(const FrameDigest& digest, const std::function<FramePtr()>& load);

  struct Statistics {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t evictions = 0;
    std::uint64_t bytes = 0;
    std::uint64_t bytes_max = 0;
  };
  [[nodiscard]] Statistics statistics() const;

 private:
  struct Shard;
  static constexpr std::size_t kShards = 16;
  std::unique_ptr<Shard[]> shards_;
};

}  // namespace vmpack
