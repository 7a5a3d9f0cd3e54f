// SPDX-License-Identifier: Apache-2.0
// A block device that nobody writes to while we look at it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// Makes the kernel treat the device as read-only until it is destroyed: a file system with a log to replay
/// must not write, not even one that is mounted read-only.
class BlockDevice {
 public:
  /// Throws Error.
  explicit BlockDevice(std::string path);
  ~BlockDevice();
  BlockDevice(const BlockDevice&) = delete;
  BlockDevice& operator=(const BlockDevice&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] dev_t number() const { return number_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Fills `into`; what lies behind the device's end is zero. Throws Error.
  void read(std::uint64_t offset, ByteSpan into) const;

 private:
  std::string path_;
  FileDescriptor file_;
  dev_t number_ = 0;
  std::uint64_t bytes_ = 0;
  bool was_writable_ = false;
};

}  // namespace vmpack
