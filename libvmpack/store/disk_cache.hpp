// SPDX-License-Identifier: Apache-2.0
// Copies of immutable values on a local disk, for stores that are far away. Survives restarts and crashes.
//
// The folder holds segments, files to which records are appended until they are full; the oldest segment goes
// as a whole. A record is a header (below) and the copy's bytes. A full segment, or one whose cache was
// closed, ends with a table (the headers of its records once more) and a trailer, so that it is known without
// being read.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

inline constexpr std::uint64_t kDiskCacheBytesMin = 64 * kMiB;

/// Every method may be called from any thread. Needs about 100 bytes of memory for each copy.
class DiskCache {
 public:
  /// Makes `folder` if it is not there. Its segments take at most `bytes_max` (at least kDiskCacheBytesMin).
  /// kAlreadyExists when another process uses the folder; kIo and others when it cannot be used.
  static std::shared_ptr<DiskCache> open(const std::string& folder, std::uint64_t bytes_max);
  ~DiskCache();
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;

  /// The copy called `id`, its checksum checked; nullopt when it is not here, cannot be read, or is damaged
  /// (then it is forgotten).
  [[nodiscard]] std::optional<Bytes> find(const Digest& id);

  /// Keeps a copy. Never fails: what cannot be written is not kept.
  void keep(const Digest& id, ByteView bytes);

  /// False when it was not here.
  bool forget(const Digest& id);

  struct Statistics {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t damaged = 0;  ///< copies that were not what was written
    std::uint64_t failed_writes = 0;
    std::uint64_t bytes = 0;  ///< of all segments
    std::uint64_t bytes_max = 0;
  };
  [[nodiscard]] Statistics statistics() const;

 private:
  struct Segment;
  using SegmentPtr = std::shared_ptr<Segment>;
  /// Where a copy's header lies, and how many bytes follow it.
  struct Place {
    std::uint64_t segment = 0;
    std::uint32_t offset = 0;
    std::uint32_t bytes = 0;
  };

  DiskCache(std::string folder, std::uint64_t bytes_max);
  void load();

  // Callers hold the mutex.
  [[nodiscard]] SegmentPtr segment(std::uint64_t number) const;
  Segment& segment_with_room(std::uint64_t bytes);
  void seal(Segment& segment);
  void drop_oldest();
  void append(const Digest& id, ByteView bytes);

  const std::string folder_;
  const std::uint64_t bytes_max_;
  const std::uint64_t segment_bytes_max_;
  FileDescriptor lock_;
  mutable std::mutex mutex_;
  std::deque<SegmentPtr> segments_;  // oldest first; records are appended to the last one
  std::uint64_t next_number_ = 1;
  std::unordered_map<Digest, Place, DigestHash> places_;
  Statistics statistics_;
};

}  // namespace vmpack
