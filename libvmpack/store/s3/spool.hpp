// SPDX-License-Identifier: Apache-2.0
// A value that waits for its key: in memory while the store has some to give, behind that in a file without a
// name.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/store/s3/http_body.hpp"

namespace vmpack {

/// What all spools of a store may take together. Any thread.
class SpoolMemory {
 public:
  explicit SpoolMemory(std::uint64_t bytes_max) : left_(bytes_max) {}

  [[nodiscard]] bool take(std::uint64_t bytes);
  void give_back(std::uint64_t bytes) { left_ += bytes; }

 private:
  std::atomic<std::uint64_t> left_;
};

/// Not for two threads at once. Throws system_error when the file cannot be written; kNoSpace when its disk
/// is full.
class Spool final : public HttpBody {
 public:
  explicit Spool(SpoolMemory& memory) : memory_(memory) {}
  ~Spool() override;

  void append(ByteView bytes);
  [[nodiscard]] std::uint64_t size() const override { return memory_bytes_ + file_bytes_; }
  std::size_t read(std::uint64_t offset, ByteSpan into) override;

 private:
  // Adds what there is memory for; returns the rest.
  [[nodiscard]] ByteView append_to_memory(ByteView bytes);
  void append_to_file(ByteView bytes);

  SpoolMemory& memory_;
  std::vector<Bytes> blocks_;  // all full but the last
  std::uint64_t memory_bytes_ = 0;
  FileDescriptor file_;  // once memory was refused, everything goes there
  std::uint64_t file_bytes_ = 0;
};

}  // namespace vmpack
