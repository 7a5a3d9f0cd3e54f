// SPDX-License-Identifier: Apache-2.0
// Decoded, verified frames in memory, shared by every open image, bounded in bytes
// (docs/decisions/0022-cache.md).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/frame.hpp"

namespace vmpack {

/// What a cache should have at least: less holds too few frames to tell which of them come again.
inline constexpr std::uint64_t kFrameCacheBytesMin = 64 * kMiB;

/// Keeps what comes again, and lets go what was only passed by: reading whole images through it leaves the
/// frames that guests boot from (S3-FIFO, Yang et al., SOSP 2023). Every method may be called from any
/// thread.
class FrameCache {
 public:
  /// Holds at most `bytes_max` of decoded frames; one that is larger on its own is handed out and not kept.
  explicit FrameCache(std::uint64_t bytes_max);
  ~FrameCache();
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;

  /// What find() returned stays where it is while one lives on the same thread. For as long as copying takes:
  /// nothing that is evicted meanwhile is freed.
  class ReadGuard {
   public:
    ReadGuard();
    ~ReadGuard();
    ReadGuard(const ReadGuard&) = delete;
    ReadGuard& operator=(const ReadGuard&) = delete;
  };

  /// The frame if it is here, else nullptr. Takes no lock and waits for nobody.
  [[nodiscard]] const DecodedFrame* find(const ReadGuard& guard, const FrameDigest& digest);

  /// The same for whoever keeps it longer than a guard should live.
  [[nodiscard]] FramePtr find(const FrameDigest& digest);

  /// The frame, by `load` if it is not here. Of several threads that ask at once one loads and the others
  /// wait for it; if it throws, all of them see the error and the next caller tries again.
  [[nodiscard]] FramePtr get(const FrameDigest& digest, const std::function<FramePtr()>& load);

  struct Statistics {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t evictions = 0;
    std::uint64_t bytes = 0;  ///< those evicted and not yet freed as well
    std::uint64_t bytes_max = 0;
  };
  [[nodiscard]] Statistics statistics() const;

 private:
  struct Entry;
  struct Table;
  struct Queues;

  [[nodiscard]] Entry* find_entry(const FrameDigest& digest);
  /// Counts a hit, for statistics and for whether the frame stays.
  void use(Entry& entry);
  void insert(const FrameDigest& digest, const FramePtr& frame);
  /// Frees what is evicted, once nobody can be reading it any more.
  static void release(std::vector<Entry*> evicted);

  struct alignas(64) HitCount {
    std::atomic<std::uint64_t> hits = 0;
  };
  const std::uint64_t bytes_max_;
  const std::uint64_t correlated_bytes_;  ///< uses while no more than this comes in are one use
  std::atomic<std::uint64_t> inserted_bytes_ = 0;
  std::array<HitCount, 16> hits_;  // threads share them, so that they seldom meet
  std::unique_ptr<Table> table_;
  std::unique_ptr<Queues> queues_;
};

}  // namespace vmpack
