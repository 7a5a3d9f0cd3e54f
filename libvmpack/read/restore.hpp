// SPDX-License-Identifier: Apache-2.0
// Writes a snapshot back as an image: every frame decoded once, in parallel, zeros left out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// Where a restored image goes. What is not written reads as zeros, once it is finished.
class ImageSink {
 public:
  ImageSink() = default;
  ImageSink(const ImageSink&) = delete;
  ImageSink& operator=(const ImageSink&) = delete;
  virtual ~ImageSink() = default;

  /// Any thread, in any order; ranges do not overlap and lie inside the image.
  virtual void write(std::uint64_t offset, ByteView bytes) = 0;
  /// After the last write: completes it and gives it its name. Without this call nothing stays behind.
  virtual void finish() = 0;
};

/// A file that has another name until it is complete. Destruction without publish() removes it.
class PendingFile {
 public:
  /// Makes the temporary file, empty. Throws kAlreadyExists when `path` exists, unless `replace`.
  PendingFile(std::string path, bool replace);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& temporary() const { return temporary_; }
  void publish();

 private:
  std::string path_;
  std::string temporary_;
  bool published_ = false;
};

/// A sparse raw file, written under a temporary name beside `path` and renamed by finish(). kAlreadyExists
/// when `path` exists, unless `replace`.
[[nodiscard]] std::unique_ptr<ImageSink> open_raw_sink(const std::string& path, std::uint64_t image_bytes,
                                                       bool replace);

struct RestoreResult {
  std::uint64_t image_bytes = 0;
  std::uint64_t data_bytes = 0;    ///< written
  std::uint64_t stored_bytes = 0;  ///< read from packs
};

/// Reads all of `snapshot` into `sink` on `threads` threads, and finishes it. Throws kDamaged before
/// finish(), so that a damaged repository leaves no image behind.
RestoreResult restore(const Repository& repository, const SnapshotDigest& snapshot, ImageSink& sink,
                      unsigned threads, Progress& progress);

/// The same of `range`, which must lie inside the image; its first byte goes to offset 0 of the sink.
RestoreResult restore_range(const Repository& repository, const SnapshotDigest& snapshot, ByteRange range,
                            ImageSink& sink, unsigned threads, Progress& progress);

/// As restore(), for a sink that takes each block of `block_bytes` once and whole, up to the end of the
/// image, and best about in order. Costs memory for a cache, and decodes some frames several times.
RestoreResult restore_blocks(std::shared_ptr<const Repository> repository, const SnapshotDigest& snapshot,
                             std::uint64_t block_bytes, ImageSink& sink, unsigned threads,
                             Progress& progress);

}  // namespace vmpack
