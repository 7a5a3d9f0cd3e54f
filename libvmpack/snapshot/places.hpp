// SPDX-License-Identifier: Apache-2.0
// Where a snapshot's frames lie now. Outside every digest: what it says is checked by the digest of what is
// read there. Format: formats/places.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

struct FramePlace {
  FrameDigest frame;
  FrameLocation location;
};

/// "places/<snapshot>".
[[nodiscard]] std::string places_key(const SnapshotDigest& snapshot);

/// The file for `snapshot`; sorts and drops duplicates.
[[nodiscard]] Bytes encode_places(const SnapshotDigest& snapshot, std::span<const FramePlace> places);

class Places;
/// The file for `snapshot` with all that `known` has, and `more`.
[[nodiscard]] Bytes extend_places(const SnapshotDigest& snapshot, const Places& known,
                                  std::span<const FramePlace> more);

/// Finds frames in a places file, reading of it what it needs. Any thread.
class Places {
 public:
  /// Reads the header. Throws kNotFound, kDamaged, kUnsupported, kLimit.
  static std::unique_ptr<Places> open(Store& store, const SnapshotDigest& snapshot);

  /// All places whose frame's digest begins like `frame`: nearly always one. Empty when the file has none.
  /// Throws kDamaged when the block of the file that it needs has a wrong checksum.
  [[nodiscard]] std::vector<FrameLocation> find(const FrameDigest& frame) const;

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] const std::vector<PackDigest>& packs() const { return packs_; }
  /// Calls for every place with the first eight bytes of its frame's digest. Throws kDamaged.
  void for_each(const std::function<void(std::uint64_t prefix, const FrameLocation& location)>& each) const;

 private:
  struct Entry {
    std::uint64_t prefix;
    std::uint64_t offset;
    std::uint32_t stored_bytes;
    std::uint32_t pack;
  };
  using Block = std::vector<Entry>;

  explicit Places(Store& store) : store_(store) {}
  std::shared_ptr<const Block> block(std::size_t number) const;

  Store& store_;
  std::string key_;
  std::uint64_t body_offset_ = 0;
  std::uint64_t count_ = 0;
  std::uint32_t block_places_ = 0;
  std::vector<PackDigest> packs_;
  std::vector<std::uint64_t> checksums_;
  std::vector<std::uint64_t> fences_;

  mutable std::mutex mutex_;
  mutable std::unordered_map<std::size_t, std::shared_ptr<const Block>> blocks_;  // guarded by mutex_
};

/// Reads and checks the frame from where `places` says it lies. Throws kDamaged or kNotFound naming the file.
/// What a delta frame stands on comes from `read_base`, or is read in the same way.
[[nodiscard]] FramePtr read_placed_frame(Store& store, const Places& places, const FrameDigest& frame,
                                         const BaseReader& read_base = {});
/// The same for what delta frames stand on: a delta frame is damage.
[[nodiscard]] FramePtr read_placed_base(Store& store, const Places& places, const FrameDigest& base);

}  // namespace vmpack
