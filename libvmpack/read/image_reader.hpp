// SPDX-License-Identifier: Apache-2.0
// Reads a snapshot as the image it was: resolves offsets through the block map, decodes verified frames,
// fills zeros.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// Zero or data, as NBD's base:allocation tells it.
struct AllocationRun {
  std::uint64_t length = 0;
  bool zero = false;
};

/// A piece of an image: bytes that stay where they are for as long as `frame` is held, or zeros.
struct ImagePiece {
  FramePtr frame;  ///< null: zeros
  const std::byte* data = nullptr;
  std::uint64_t length = 0;
};

/// One open snapshot. Every method may be called from any thread, by several at once.
class ImageReader {
 public:
  /// Reads manifest, map root and places; nothing that grows with the image. Throws kNotFound, kDamaged,
  /// kUnsupported.
  static std::shared_ptr<ImageReader> open(std::shared_ptr<const Repository> repository,
                                           const SnapshotDigest& snapshot, std::shared_ptr<FrameCache> cache);
  ~ImageReader();
  ImageReader(const ImageReader&) = delete;
  ImageReader& operator=(const ImageReader&) = delete;

  /// Size of the image in bytes.
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] const SnapshotDigest& snapshot() const;

  /// Fills `into` from `offset`; the range must lie inside the image. May block on the store and on decoding.
  /// Throws kDamaged naming the damaged file; `into` then holds nothing that may be shown.
  void read(std::uint64_t offset, ByteSpan into) const;

  /// As read(), but only from memory: false, at once, when something that it needs is not cached.
  [[nodiscard]] bool try_read(std::uint64_t offset, ByteSpan into) const;

  /// As read() and try_read(), but without a copy: appends the pieces of [offset, offset + length), in order.
  /// When try_pieces() returns false, `pieces` holds some of them.
  void pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const;
  [[nodiscard]] bool try_pieces(std::uint64_t offset, std::uint64_t length,
                                std::vector<ImagePiece>& pieces) const;

  /// Zero and data runs of [offset, offset + length), adjacent ones of a kind joined. May block on map pages.
  [[nodiscard]] std::vector<AllocationRun> allocation(std::uint64_t offset, std::uint64_t length) const;

  /// The frames that a range is read from, each once, in the order in which the range first meets them. May
  /// block on map pages.
  [[nodiscard]] std::vector<FrameDigest> frames(std::uint64_t offset, std::uint64_t length) const;
  /// One of the frames that the image is read from, or that such a frame stands on; through the cache.
  [[nodiscard]] FramePtr frame(const FrameDigest& digest) const;
  /// Where that frame lies now. Throws kDamaged when that is not known.
  [[nodiscard]] FrameLocation place(const FrameDigest& digest) const;

  /// Brings the frames of a range into the cache. May block.
  void prefetch(std::uint64_t offset, std::uint64_t length) const;

 private:
  struct State;
  explicit ImageReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
