// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/frame_cache.hpp"

#include <urcu/urcu-bp.h>
// After its flavor.
#include <urcu/rculfhash.h>

#include <bit>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <unordered_map>
#include <unordered_set>
#include <utility>

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

/// What one cached frame costs besides its bytes: its entry, and that it is remembered for a while once it is
/// gone.
constexpr std::uint64_t kEntryBytes = 384;
constexpr std::uint8_t kUsesMax = 3;
/// Of the cache: where new frames wait to be used again.
constexpr std::uint64_t kNewcomersPart = 10;
/// Of the cache: what is evicted is freed together when it comes to this much. Waiting until nobody reads it
/// costs the same for one frame as for many.
constexpr std::uint64_t kEvictedPart = 64;
/// One bucket of the table for so much of the cache: a few frames in each.
constexpr std::uint64_t kBucketPart = 64 * kKiB;

unsigned long hash_of(const FrameDigest& digest) {
  unsigned long hash = 0;
  std::memcpy(&hash, digest.bytes.data(), sizeof(hash));
  return hash;
}

std::size_t thread_number() {
  static std::atomic<std::size_t> next = 0;
  thread_local const std::size_t number = next++;
  return number;
}

}  // namespace

struct FrameCache::Entry {
  cds_lfht_node node{};  // first: the table hands out its address
  FrameDigest digest;
  FramePtr frame;
  std::uint64_t cost = 0;
  std::atomic<std::uint8_t> uses = 0;
  std::atomic<std::uint64_t> used_at = 0;  // inserted_bytes_ at its last use that counted
};

/// Entries by digest. Found without a lock; the queues' mutex guards changes.
struct FrameCache::Table {
  explicit Table(unsigned long buckets)
      : table(cds_lfht_new_flavor(buckets, buckets, buckets, 0, &urcu_bp_flavor, nullptr)) {
    if (table == nullptr) throw std::bad_alloc();
  }
  ~Table() { cds_lfht_destroy(table, nullptr); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  cds_lfht* table;
};

/// S3-FIFO: newcomers, those that were used again, and the digests of newcomers that were not.
struct FrameCache::Queues {
  std::mutex mutex;
  std::deque<Entry*> newcomers;
  std::deque<Entry*> established;
  std::deque<unsigned long>
      ghosts;  // oldest first, hashes of digests: a false match costs nothing but a place
  std::unordered_multiset<unsigned long> ghost_set;
  std::uint64_t bytes = 0;  // of both queues
  std::uint64_t newcomers_bytes = 0;
  std::vector<Entry*> evicted;  // not in the table any more, and perhaps being read
  std::uint64_t evicted_bytes = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::unordered_map<FrameDigest, std::shared_ptr<Flight>, DigestHash> flights;

  // Callers hold the mutex.

  void remember(unsigned long hash) {
    ghosts.push_back(hash);
    ghost_set.insert(hash);
    while (ghosts.size() > newcomers.size() + established.size()) {
      ghost_set.erase(ghost_set.find(ghosts.front()));
      ghosts.pop_front();
    }
  }

  /// Takes the entry that is to go out of its queue.
  Entry* choose_victim(std::uint64_t newcomers_max) {
    while (true) {
      const bool from_newcomers = newcomers_bytes > newcomers_max || established.empty();
      std::deque<Entry*>& queue = from_newcomers ? newcomers : established;
      Entry* const entry = queue.front();
      queue.pop_front();
      const std::uint8_t uses = entry->uses.load(std::memory_order_relaxed);
      if (from_newcomers) newcomers_bytes -= entry->cost;
      if (uses > 0) {
        entry->uses.store(from_newcomers ? 0 : uses - 1, std::memory_order_relaxed);
        established.push_back(entry);
        continue;
      }
      if (from_newcomers) remember(hash_of(entry->digest));
      return entry;
    }
  }
};

FrameCache::ReadGuard::ReadGuard() { urcu_bp_read_lock(); }
FrameCache::ReadGuard::~ReadGuard() { urcu_bp_read_unlock(); }

FrameCache::FrameCache(std::uint64_t bytes_max)
    : bytes_max_(bytes_max),
      correlated_bytes_(bytes_max / kNewcomersPart / 2),
      table_(std::make_unique<Table>(std::bit_ceil(bytes_max / kBucketPart + 1))),
      queues_(std::make_unique<Queues>()) {}

FrameCache::~FrameCache() {
  std::vector<Entry*> all = std::move(queues_->evicted);
  all.insert(all.end(), queues_->newcomers.begin(), queues_->newcomers.end());
  all.insert(all.end(), queues_->established.begin(), queues_->established.end());
  for (Entry* entry : all) {
    const ReadGuard guard;
    cds_lfht_del(table_->table, &entry->node);  // those evicted are out of it: nothing happens
  }
  release(std::move(all));
}

FrameCache::Entry* FrameCache::find_entry(const FrameDigest& digest) {
  const auto matches = [](cds_lfht_node* node, const void* key) -> int {
    return reinterpret_cast<const Entry*>(node)->digest == *static_cast<const FrameDigest*>(key) ? 1 : 0;
  };
  cds_lfht_iter iterator{};
  cds_lfht_lookup(table_->table, hash_of(digest), matches, &digest, &iterator);
  return reinterpret_cast<Entry*>(cds_lfht_iter_get_node(&iterator));
}

void FrameCache::use(Entry& entry) {
  hits_[thread_number() % hits_.size()].hits.fetch_add(1, std::memory_order_relaxed);
  // A frame is read in pieces, and by several guests that boot together: that is one use. So a frame that is
  // hot and stays is only read here, never written, by all threads.
  const std::uint64_t now = inserted_bytes_.load(std::memory_order_relaxed);
  if (now - entry.used_at.load(std::memory_order_relaxed) <= correlated_bytes_) return;
  entry.used_at.store(now, std::memory_order_relaxed);
  const std::uint8_t uses = entry.uses.load(std::memory_order_relaxed);
  if (uses < kUsesMax) entry.uses.store(uses + 1, std::memory_order_relaxed);
}

const DecodedFrame* FrameCache::find(const ReadGuard&, const FrameDigest& digest) {
  Entry* const entry = find_entry(digest);
  if (entry == nullptr) return nullptr;
  use(*entry);
  return entry->frame.get();
}

FramePtr FrameCache::find(const FrameDigest& digest) {
  const ReadGuard guard;
  Entry* const entry = find_entry(digest);
  if (entry == nullptr) return nullptr;
  use(*entry);
  return entry->frame;
}

FramePtr FrameCache::get(const FrameDigest& digest, const std::function<FramePtr()>& load) {
  if (FramePtr frame = find(digest)) return frame;

  std::shared_ptr<Flight> flight;
  bool ours = false;
  {
    const std::lock_guard lock(queues_->mutex);
    // Whoever loaded it meanwhile has put it into the table before it took its flight away.
    if (FramePtr frame = find(digest)) return frame;
    ++queues_->misses;
    auto& slot = queues_->flights[digest];
    ours = slot == nullptr;
    if (ours) slot = std::make_shared<Flight>();
    flight = slot;
  }
  if (!ours) return flight->wait();

  FramePtr frame;
  std::exception_ptr error;
  try {
    frame = load();
    insert(digest, frame);
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(queues_->mutex);
    queues_->flights.erase(digest);
  }
  flight->finish(frame, error);
  if (error) std::rethrow_exception(error);
  return frame;
}

void FrameCache::insert(const FrameDigest& digest, const FramePtr& frame) {
  const std::uint64_t evicted_max = bytes_max_ / kEvictedPart;
  const std::uint64_t cost = frame->bytes.size() + kEntryBytes;
  if (cost > bytes_max_ - evicted_max) return;
  auto entry = std::make_unique<Entry>();
  cds_lfht_node_init(&entry->node);
  entry->digest = digest;
  entry->frame = frame;
  entry->cost = cost;
  entry->used_at = inserted_bytes_.fetch_add(cost, std::memory_order_relaxed) + cost;

  std::vector<Entry*> evicted;
  {
    const std::lock_guard lock(queues_->mutex);
    const ReadGuard guard;
    Queues& queues = *queues_;
    while (queues.bytes + cost > bytes_max_ - evicted_max) {
      Entry* const victim = queues.choose_victim(bytes_max_ / kNewcomersPart);
      cds_lfht_del(table_->table, &victim->node);
      queues.bytes -= victim->cost;
      ++queues.evictions;
      queues.evicted.push_back(victim);
      queues.evicted_bytes += victim->cost;
    }
    const bool known = queues.ghost_set.contains(hash_of(digest));
    (known ? queues.established : queues.newcomers).push_back(entry.get());
    if (!known) queues.newcomers_bytes += cost;
    queues.bytes += cost;
    cds_lfht_add(table_->table, hash_of(digest), &entry.release()->node);
    if (queues.evicted_bytes > evicted_max / 2) {
      evicted.swap(queues.evicted);
      queues.evicted_bytes = 0;
    }
  }
  if (!evicted.empty()) release(std::move(evicted));
}

void FrameCache::release(std::vector<Entry*> evicted) {
  urcu_bp_synchronize_rcu();
  for (Entry* entry : evicted) delete entry;
}

FrameCache::Statistics FrameCache::statistics() const {
  Statistics sum;
  for (const HitCount& count : hits_) sum.hits += count.hits.load(std::memory_order_relaxed);
  const std::lock_guard lock(queues_->mutex);
  sum.misses = queues_->misses;
  sum.evictions = queues_->evictions;
  sum.bytes = queues_->bytes + queues_->evicted_bytes;
  sum.bytes_max = bytes_max_;
  return sum;
}

}  // namespace vmpack
