// SPDX-License-Identifier: Apache-2.0
// Owns a file descriptor, and reads and writes all of what it is asked to.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor() { reset(); }

  /// Opens with O_CLOEXEC; throws system_error naming `path`.
  static FileDescriptor open(const std::string& path, int flags, unsigned mode = 0666);

  [[nodiscard]] int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(descriptor_, -1); }
  void reset() noexcept;

 private:
  int descriptor_ = -1;
};

/// Fills `into` from `offset`. Returns the bytes read: fewer than asked for only at the end of the file.
/// Throws system_error naming `path`. Any thread.
std::size_t read_at(int descriptor, ByteSpan into, std::uint64_t offset, std::string_view path);
/// Writes all of `bytes` at `offset`.
void write_at(int descriptor, ByteView bytes, std::uint64_t offset, std::string_view path);

}  // namespace vmpack
