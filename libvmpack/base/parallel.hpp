// SPDX-License-Identifier: Apache-2.0
// Runs independent pieces of work on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace vmpack {

/// Threads that work is spread over unless a caller says otherwise.
inline unsigned default_threads() { return std::max(1U, std::thread::hardware_concurrency()); }

/// Calls work(i) for each i below `count`, in no particular order, on up to `threads` threads. After the
/// first exception no new piece begins; it is rethrown when all threads have ended.
template <typename Work>
void parallel_for(std::size_t count, unsigned threads, Work work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto run = [&] {
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(count);
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    for (std::size_t i = 1; i < std::min<std::size_t>(threads, count); ++i) workers.emplace_back(run);
    run();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace vmpack
