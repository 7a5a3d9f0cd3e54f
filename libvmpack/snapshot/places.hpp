// SPDX-License-Identifier: Apache-2.0
// Where a snapshot's frames lie now. Outside every digest: what it says is checked by the digest of what is
// read there. Format: formats/places.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

struct FramePlace {
  FrameDigest frame;
  FrameLocation location;
  bool is_base = false;  ///< another frame stands on it
};

/// "places/<snapshot>".
[[nodiscard]] std::string places_key(const SnapshotDigest& snapshot);

/// The file for `snapshot`; sorts and drops duplicates.
[[nodiscard]] Bytes encode_places(const SnapshotDigest& snapshot, std::span<const FramePlace> places);

class Places;
/// The file for `snapshot` with all that `known` has, and those of `more` that it has not.
[[nodiscard]] Bytes extend_places(const SnapshotDigest& snapshot, const Places& known,
                                  std::span<const FramePlace> more);
/// Where a frame of a places file is now, whose digest begins with `prefix`; nullopt where the snapshot needs
/// it no more.
using PlaceNow =
    std::function<std::optional<FrameLocation>(std::uint64_t prefix, const FrameLocation& location)>;
/// The file for what `known` belongs to, with what `place_now` says of its places, and `more`. `bases`: first
/// eight bytes of digests of frames that others stand on.
[[nodiscard]] Bytes rewrite_places(const Places& known, const PlaceNow& place_now,
                                   std::vector<std::uint64_t> bases, std::span<const FramePlace> more = {});

/// Finds frames in a places file, reading of it what it needs. Any thread. When the file is replaced
/// meanwhile, the new one is used from then on.
class Places {
 public:
  /// Reads the header. Throws kNotFound, kDamaged, kUnsupported, kLimit.
  static std::unique_ptr<Places> open(Store& store, const SnapshotDigest& snapshot);
  ~Places();
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  /// All places whose frame's digest begins like `frame`: nearly always one. Empty when the file has none.
  /// Throws kDamaged when the block of the file that it needs has a wrong checksum.
  [[nodiscard]] std::vector<FrameLocation> find(const FrameDigest& frame) const;

  /// Reads and checks a frame. Throws kDamaged or kNotFound naming the file.
  [[nodiscard]] FramePtr read(const FrameDigest& frame, const BaseReader& read_base) const;

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] const SnapshotDigest& snapshot() const { return snapshot_; }
  [[nodiscard]] std::uint64_t count() const;
  /// How many were in use when that was last looked at.
  [[nodiscard]] std::uint64_t known_used() const;
  /// First eight bytes of the digests of frames that others stand on, sorted; nullopt where the file does not
  /// tell.
  [[nodiscard]] std::optional<std::vector<std::uint64_t>> bases() const;
  [[nodiscard]] std::vector<PackDigest> packs() const;
  /// Calls for every place with the first eight bytes of its frame's digest. Throws kDamaged before the first
  /// call.
  void for_each(const std::function<void(std::uint64_t prefix, const FrameLocation& location)>& each) const;

 private:
  class File;

  Places(Store& store, const SnapshotDigest& snapshot);
  [[nodiscard]] std::shared_ptr<const File> file() const;
  [[nodiscard]] std::optional<StoreVersion> stored_version() const;
  /// Whether there is another file than `opened` now; then that is used from now on.
  [[nodiscard]] bool forget_if_replaced(const std::shared_ptr<const File>& opened) const;
  /// Runs `use` on the file; once more, on the new one, when it was damaged because it was replaced.
  template <typename Use>
  auto with_file(const Use& use) const;

  Store& store_;
  SnapshotDigest snapshot_;
  std::string key_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const File> file_;  // guarded by mutex_
};

/// Reads and checks the frame from where `places` says it lies. Throws kDamaged or kNotFound naming the file.
/// What a delta frame stands on comes from `read_base`, or is read in the same way.
[[nodiscard]] FramePtr read_placed_frame(const Places& places, const FrameDigest& frame,
                                         const BaseReader& read_base = {});
/// The same for what delta frames stand on: a delta frame is damage.
[[nodiscard]] FramePtr read_placed_base(const Places& places, const FrameDigest& base);

}  // namespace vmpack
