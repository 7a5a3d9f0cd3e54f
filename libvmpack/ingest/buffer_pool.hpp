// SPDX-License-Identifier: Apache-2.0
// Large buffers that are used again and again: fresh memory costs a page fault for every 4 KiB, more than all
// hashing.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// Hands out buffers of one capacity, in huge pages where the system gives them. Any thread. Must outlive its
/// buffers.
class BufferPool {
 public:
  explicit BufferPool(std::size_t capacity) : capacity_(capacity) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  struct GiveBack {
    BufferPool* pool = nullptr;
    void operator()(std::byte* memory) const { pool->give_back(memory); }
  };
  using Buffer = std::unique_ptr<std::byte, GiveBack>;

  /// Not zeroed.
  [[nodiscard]] Buffer take();

 private:
  void give_back(std::byte* memory);

  std::size_t capacity_;
  std::mutex mutex_;
  std::vector<std::byte*> idle_;
};

}  // namespace vmpack
