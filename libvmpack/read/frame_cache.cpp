// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/frame_cache.hpp"

#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <unordered_map>

namespace vmpack {
namespace {

/// One load that several threads may wait for.
struct Flight {
  std::mutex mutex;
  std::condition_variable done_changed;
  bool done = false;
  FramePtr frame;
  std::exception_ptr error;

  FramePtr wait() {
    std::unique_lock lock(mutex);
    done_changed.wait(lock, [this] { return done; });
    if (error) std::rethrow_exception(error);
    return frame;
  }
  void finish(FramePtr loaded, std::exception_ptr failed) {
    {
      const std::lock_guard lock(mutex);
      frame = std::move(loaded);
      error = std::move(failed);
      done = true;
    }
    done_changed.notify_all();
  }
};

/// What one cached frame costs besides its bytes.
constexpr std::uint64_t kEntryBytes = 256;

}  // namespace

struct FrameCache::Shard {
  struct Entry {
    FrameDigest digest;
    FramePtr frame;
  };

  std::mutex mutex;
  std::list<Entry> recent;  // most recently used first
  std::unordered_map<FrameDigest, std::list<Entry>::iterator, DigestHash> entries;
  std::unordered_map<FrameDigest, std::shared_ptr<Flight>, DigestHash> flights;
  Statistics statistics;

  /// Caller holds the mutex.
  FramePtr find_locked(const FrameDigest& digest) {
    const auto found = entries.find(digest);
    if (found == entries.end()) return nullptr;
    recent.splice(recent.begin(), recent, found->second);
    return found->second->frame;
  }

  /// Caller holds the mutex.
  void insert_locked(const FrameDigest& digest, const FramePtr& frame) {
    const std::uint64_t cost = frame->bytes.size() + kEntryBytes;
    if (cost > statistics.bytes_max || entries.contains(digest)) return;
    while (statistics.bytes + cost > statistics.bytes_max) {
      const Entry& oldest = recent.back();
      statistics.bytes -= oldest.frame->bytes.size() + kEntryBytes;
      ++statistics.evictions;
      entries.erase(oldest.digest);
      recent.pop_back();
    }
    recent.push_front({digest, frame});
    entries.emplace(digest, recent.begin());
    statistics.bytes += cost;
  }
};

FrameCache::FrameCache(std::uint64_t bytes_max) : shards_(std::make_unique<Shard[]>(kShards)) {
  for (std::size_t i = 0; i < kShards; ++i) shards_[i].statistics.bytes_max = bytes_max / kShards;
}

FrameCache::~FrameCache() = default;

FramePtr FrameCache::find(const FrameDigest& digest) {
  Shard& shard = shards_[digest.bytes[kDigestBytes - 1] % kShards];
  const std::lock_guard lock(shard.mutex);
  auto frame = shard.find_locked(digest);
  if (frame) ++shard.statistics.hits;
  return frame;
}

FramePtr FrameCache::get(const FrameDigest& digest, const std::function<FramePtr()>& load) {
  Shard& shard = shards_[digest.bytes[kDigestBytes - 1] % kShards];
  std::shared_ptr<Flight> flight;
  {
    const std::lock_guard lock(shard.mutex);
    if (auto frame = shard.find_locked(digest)) {
      ++shard.statistics.hits;
      return frame;
    }
    ++shard.statistics.misses;
    const auto [found, ours] = shard.flights.try_emplace(digest);
    if (ours) {
      found->second = std::make_shared<Flight>();
    } else {
      flight = found->second;
    }
  }
  if (flight) return flight->wait();

  FramePtr frame;
  std::exception_ptr error;
  try {
    frame = load();
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(shard.mutex);
    if (frame) shard.insert_locked(digest, frame);
    const auto found = shard.flights.find(digest);
    flight = std::move(found->second);
    shard.flights.erase(found);
  }
  flight->finish(frame, error);
  if (error) std::rethrow_exception(error);
  return frame;
}

FrameCache::Statistics FrameCache::statistics() const {
  Statistics sum;
  for (std::size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    const std::lock_guard lock(shard.mutex);
    sum.hits += shard.statistics.hits;
    sum.misses += shard.statistics.misses;
    sum.evictions += shard.statistics.evictions;
    sum.bytes += shard.statistics.bytes;
    sum.bytes_max += shard.statistics.bytes_max;
  }
  return sum;
}

}  // namespace vmpack
