// SPDX-License-Identifier: Apache-2.0
// Restores into what is there, a raw file or a block device: reads it, and writes only what differs.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/read/restore.hpp"

namespace vmpack {

/// How much of the target's beginning is looked at before anything is written.
inline constexpr std::uint64_t kUpdateStartBytes = kMiB;

/// Nobody else may have the target in use. Until finish() it is neither what it was nor the image; the same
/// restore, run again, ends what was begun.
class UpdateSink final : public ImageSink {
 public:
  /// A file becomes as large as the image. A block device must not be smaller; what lies behind the image
  /// stays. Unless `force`, its first kUpdateStartBytes must be zeros, or be `image_start`, which is the same
  /// part of the image: else it holds something else. Throws kNotFound, kInvalid (neither file nor device),
  /// kRefused (in use, too small), kAlreadyExists (holds something else).
  UpdateSink(const std::string& path, std::uint64_t image_bytes, ByteView image_start, bool force);

  void write(std::uint64_t offset, ByteView bytes) override;
  /// Makes zero what was not written, then all of it durable.
  void finish() override;

  /// Bytes that differed: overwritten with data, and made zero.
  [[nodiscard]] std::uint64_t written_bytes() const { return written_bytes_; }
  [[nodiscard]] std::uint64_t zeroed_bytes() const { return zeroed_bytes_; }

 private:
  void open_device(bool force, ByteView image_start);
  void lock_file() const;
  void clear(ByteRange range);
  void clear_where_set(ByteRange range);
  void write_zeros(ByteRange range);

  std::string path_;
  std::uint64_t image_bytes_;
  bool is_device_ = false;
  FileDescriptor file_;
  std::atomic<std::uint64_t> written_bytes_{0};
  std::atomic<std::uint64_t> zeroed_bytes_{0};
  std::mutex mutex_;
  std::vector<ByteRange> data_;  // what was to be written; guarded by mutex_
};

}  // namespace vmpack
