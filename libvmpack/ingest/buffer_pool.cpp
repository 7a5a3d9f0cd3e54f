// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/buffer_pool.hpp"

#include <sys/mman.h>

#include <new>

namespace vmpack {

BufferPool::~BufferPool() {
  for (std::byte* memory : idle_) ::munmap(memory, capacity_);
}

BufferPool::Buffer BufferPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::byte* memory = idle_.back();
      idle_.pop_back();
      return Buffer(memory, {this});
    }
  }
  void* memory = ::mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, capacity_, MADV_HUGEPAGE);  // a wish
  return Buffer(static_cast<std::byte*>(memory), {this});
}

void BufferPool::give_back(std::byte* memory) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(memory);
}

}  // namespace vmpack
