// SPDX-License-Identifier: Apache-2.0
// A whole file as memory, for reading.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// Any thread. The file may be removed meanwhile, but must not become shorter.
class MappedFile {
 public:
  MappedFile() = default;
  /// Maps `bytes` of the open `file`, which need not stay open; throws system_error naming `path`.
  MappedFile(const FileDescriptor& file, std::uint64_t bytes, std::string_view path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept : view_(std::exchange(other.view_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(view_, other.view_);
    return *this;
  }

  [[nodiscard]] ByteView view() const { return view_; }
  /// Gives back the memory of what was read from `offset` on; it is read again when it is next used.
  void release_from(std::uint64_t offset) const noexcept;

 private:
  ByteView view_;
};

/// How many bytes of mapped files are in this process's memory now, by the system's count; nullopt where it
/// does not tell.
[[nodiscard]] std::optional<std::uint64_t> mapped_memory();

}  // namespace vmpack
