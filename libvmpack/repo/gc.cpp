// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/gc.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/condemned.hpp"
#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/live_frames.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/object_index_merge.hpp"
#include "libvmpack/repo/repack.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {
namespace {

/// So many index files are asked one after the other before they are merged.
constexpr std::size_t kIndexFilesMax = 8;
/// The lease is looked at before every so many files are deleted.
constexpr std::size_t kDeletedBetweenRenewals = 64;
/// So many keys may be marked at a time, so that the file of marks stays well below its limit; a later run
/// marks the rest.
constexpr std::size_t kMarkedMax = 500'000;
/// Leases that are over are removed a day later: until then they may tell why something stayed.
constexpr std::int64_t kLeaseRestSeconds = 24 * 60 * 60;

/// What is deleted first: nothing is ever named by what stays longer.
int rank(std::string_view key) {
  constexpr std::array<std::string_view, 7> kOrder{"snapshots/", "notes/", "places/", "maps/",
                                                   "files/",     "index/", "packs/"};
  const auto found =
      std::ranges::find_if(kOrder, [&](std::string_view prefix) { return key.starts_with(prefix); });
  return static_cast<int>(found - kOrder.begin());
}

class Collection {
 public:
  Collection(const std::shared_ptr<const Repository>& repository, const GcOptions& options,
             Progress& progress)
      : repository_(*repository), store_(repository->store()), options_(options), progress_(progress) {}

  GcReport run() {
    if (options_.dry_run) {
      const LiveFrames live = find_live();
      count(live);
      find_unused(live);
      return std::move(report_);
    }
    lease_ = Lease::take(store_, LeaseKind::kCollector, options_.lease_keeps_itself);
    try {
      collect();
    } catch (const Error& error) {
      // Where another one is at work by now, that may be why.
      if (error.code() != ErrorCode::kIo) require_lease();
      throw;
    }
    return std::move(report_);
  }

 private:
  void collect() {
    condemned_ = read_condemned(store_);
    remove_old_leases();
    delete_due();
    mark();
    delete_due();
    store_.clean_up();
    count_waiting();
  }

  [[nodiscard]] LiveFrames find_live() const {
    std::vector<SnapshotDigest> snapshots = named_snapshots(repository_);
    if (options_.in_use) {
      for (const SnapshotDigest& snapshot : options_.in_use()) {
        const bool is_known = std::ranges::find(snapshots, snapshot) != snapshots.end();
        if (!is_known && store_.stat(manifest_key(snapshot))) snapshots.push_back(snapshot);
      }
    }
    return {repository_, std::move(snapshots), progress_};
  }

  void count(const LiveFrames& live) {
    report_.snapshots = live.snapshots().size();
    report_.used_bytes = live.used_bytes();
    report_.stored_bytes = 0;
    for (const PackInUse& pack : live.packs()) report_.stored_bytes += pack.bytes;
    report_.unused_bytes = live.unused_bytes();
  }

  void require_lease() {
    if (lease_->renew()) return;
    throw Error(ErrorCode::kIo,
                fmt::format("the collection of {} took a pause for too long: others may have begun one",
                            store_.location()),
                "run 'vmpack gc' again");
  }

  void remove_old_leases() {
    const std::int64_t now = store_.now();
    for (const LeaseFacts& lease : list_leases(store_)) {
      if (lease.is_over(now - kLeaseRestSeconds)) store_.remove(lease_key(lease.id));
    }
  }

  /// When the first of the writers that are active now began.
  [[nodiscard]] std::int64_t first_writer(std::vector<std::string>* holders = nullptr) const {
    const std::int64_t now = store_.now();
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    for (const LeaseFacts& lease : list_leases(store_)) {
      if (lease.kind != LeaseKind::kWriter || lease.is_over(now)) continue;
      first = std::min(first, lease.begin);
      if (holders != nullptr) holders->push_back(lease.holder);
    }
    return first;
  }

  // Deleting.

  void delete_due() {
    const std::int64_t now = store_.now();
    const std::int64_t first = first_writer();
    const auto is_due = [&](const CondemnedBatch& batch) {
      return batch.deleting || (batch.marked + options_.grace_seconds <= now && batch.marked < first);
    };
    if (std::ranges::none_of(condemned_.batches, is_due)) return;
    for (CondemnedBatch& batch : condemned_.batches) batch.deleting = is_due(batch);
    require_lease();
    write_condemned(store_, condemned_);
    // Only from here on: a writer whose reference is not seen now sees that its files are being deleted.
    const LiveFrames live = find_live();
    std::vector<std::string> keys;
    for (const CondemnedBatch& batch : condemned_.batches) {
      if (batch.deleting) keys.insert(keys.end(), batch.keys.begin(), batch.keys.end());
    }
    // Index files are no part of any snapshot: what was marked of them was merged into others.
    std::erase_if(keys,
                  [&](const std::string& key) { return !key.starts_with("index/") && live.is_needed(key); });
    drop_from_index(keys, live);
    remove(std::move(keys));
    std::erase_if(condemned_.batches, [](const CondemnedBatch& batch) { return batch.deleting; });
    require_lease();
    write_condemned(store_, condemned_);
  }

  /// Writes index files anew that name packs which are about to go: those that were younger than a writer
  /// when the mark was set. The old ones go too.
  void drop_from_index(std::vector<std::string>& going, const LiveFrames& live) {
    PackSet packs;
    for (const std::string& key : going) {
      if (const auto pack = pack_of_key(key)) packs.insert(*pack);
    }
    const auto goes = [&](const PackDigest& pack) { return packs.contains(pack) || is_gone(pack, live); };
    std::vector<std::string> stale;
    for (const std::string& key : list_index_files(store_)) {
      const bool goes_too = std::ranges::find(going, key) != going.end();
      if (!goes_too && names_pack(*ObjectIndexFile::open(store_, key), goes)) stale.push_back(key);
    }
    if (stale.empty()) return;
    const auto place = [&](const FrameDigest&, const FrameLocation& location) {
      return goes(location.pack) ? std::nullopt : std::optional(location);
    };
    const std::vector<Digest> written = merge_index_files(store_, stale, place);
    going.insert(going.end(), stale.begin(), stale.end());
    std::erase_if(going, [&](const std::string& key) { return is_among(key, written); });
  }

  /// Whether the key is that of one of these index files.
  static bool is_among(const std::string& key, std::span<const Digest> files) {
    return std::ranges::any_of(files, [&](const Digest& file) { return index_key(file) == key; });
  }

  template <typename Which>
  static bool names_pack(const ObjectIndexFile& file, const Which& which) {
    const auto is_in = [&](const FramePlace& place) { return which(place.location.pack); };
    for (std::uint32_t i = 0; i < file.frame_count(); ++i) {
      const IndexedFrame frame = file.frame(i);
      if (is_in(frame.place) || std::ranges::any_of(frame.bases, is_in)) return true;
    }
    return false;
  }

  /// Whether a pack is not there: a writer whose packs were collected while it was paused may have listed
  /// them afterwards.
  bool is_gone(const PackDigest& pack, const LiveFrames& live) {
    if (live.pack(pack) != nullptr) return false;
    const auto [known, is_new] = gone_.try_emplace(pack, false);
    if (is_new) known->second = !store_.stat(pack_key(pack));
    return known->second;
  }

  void remove(std::vector<std::string> keys) {
    std::ranges::stable_sort(keys, {}, rank);
    progress_.begin("deleting", 0);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i % kDeletedBetweenRenewals == 0) require_lease();
      const auto stat = store_.stat(keys[i]);
      if (!stat) continue;
      store_.remove(keys[i]);
      ++report_.deleted_files;
      report_.deleted_bytes += stat->bytes;
    }
    progress_.end();
  }

  // Marking.

  void mark() {
    const LiveFrames live = find_live();
    count(live);
    std::vector<std::string> keys = find_unused(live);
    const std::vector<const PackInUse*> leave =
        packs_to_leave(live, repository_.parameters().pack_bytes_target);
    const Repacked repacked = repack(repository_, live, leave, progress_);
    report_.moved_frames = repacked.moved.count();
    report_.moved_bytes = repacked.bytes;
    report_.packs_written = repacked.packs.size();
    require_lease();
    const bool packs_go = !leave.empty() || std::ranges::any_of(keys, [](const std::string& key) {
      return pack_of_key(key).has_value();
    });
    const std::vector<std::string> merged = merge_index(live, repacked.moved, packs_go);
    keys.insert(keys.end(), merged.begin(), merged.end());
    for (const SnapshotDigest& snapshot : live.snapshots()) rewrite(snapshot, live, repacked.moved);
    for (const PackInUse* pack : leave) {
      // The very same frames may have come together again.
      if (std::ranges::find(repacked.packs, pack->digest) != repacked.packs.end()) continue;
      keys.push_back(pack_key(pack->digest));
      ++report_.packs_moved;
      ++report_.marked_files;
      report_.marked_bytes += pack->bytes;
    }
    drop_marks_of_needed(live);
    require_lease();
    const std::size_t marked = condemned_.keys().size();
    keys.resize(std::min(keys.size(), kMarkedMax - std::min(marked, kMarkedMax)));
    if (keys.empty()) return write_condemned(store_, condemned_);
    condemned_.batches.push_back({store_.now(), false, std::move(keys)});
    write_condemned(store_, condemned_);
    settle_mark();
  }

  /// The mark counts from when it could be seen.
  void settle_mark() {
    const std::int64_t now = store_.now();
    if (condemned_.batches.back().marked == now) return;
    condemned_.batches.back().marked = now;
    write_condemned(store_, condemned_);
  }

  /// Files that nothing needs, and that are not marked yet. What is younger than a writer at work may be its
  /// own.
  std::vector<std::string> find_unused(const LiveFrames& live) {
    const auto marked = condemned_.keys();
    const std::int64_t first = first_writer();
    std::vector<std::string> unused;
    store_.list("", [&](const std::string& key, std::uint64_t) {
      if (!live.is_needed(key) && !marked.contains(key)) unused.push_back(key);
    });
    std::erase_if(unused, [&](const std::string& key) {
      const auto stat = store_.stat(key);
      if (!stat || stat->modified_seconds >= first) return true;
      ++report_.marked_files;
      report_.marked_bytes += stat->bytes;
      if (!pack_of_key(key)) report_.unused_bytes += stat->bytes;
      return false;
    });
    return unused;
  }

  /// A writer may have come to need what was marked.
  void drop_marks_of_needed(const LiveFrames& live) {
    for (CondemnedBatch& batch : condemned_.batches) {
      std::erase_if(batch.keys, [&](const std::string& key) {
        return !key.starts_with("index/") && live.is_needed(key);
      });
    }
    std::erase_if(condemned_.batches, [](const CondemnedBatch& batch) { return batch.keys.empty(); });
  }

  /// Makes few index files of many, without what is not in use; returns the keys of those that they stand
  /// for. Those that active writers may have written are not among these: drop_from_index() will see to them.
  std::vector<std::string> merge_index(const LiveFrames& live, const MovedFrames& moved, bool packs_go) {
    const auto marked = condemned_.keys();
    std::vector<std::string> keys = list_index_files(store_);
    std::erase_if(keys, [&](const std::string& key) { return marked.contains(key); });
    const auto gone = [&](const PackDigest& pack) { return is_gone(pack, live); };
    const bool has_stale = std::ranges::any_of(
        keys, [&](const std::string& key) { return names_pack(*ObjectIndexFile::open(store_, key), gone); });
    if (!packs_go && !has_stale && keys.size() <= kIndexFilesMax) return {};
    const auto place = [&](const FrameDigest& frame, const FrameLocation& location) {
      return gone(location.pack) ? std::nullopt : place_now(live, moved, frame.prefix(), location);
    };
    const std::vector<Digest> merged = merge_index_files(store_, keys, place);
    const std::int64_t first = first_writer();
    std::erase_if(keys, [&](const std::string& key) {
      const auto stat = store_.stat(key);
      return !stat || stat->modified_seconds >= first || is_among(key, merged);
    });
    // One that is the same as one that was marked before must not go with it.
    for (CondemnedBatch& batch : condemned_.batches)
      std::erase_if(batch.keys, [&](const std::string& key) { return is_among(key, merged); });
    return keys;
  }

  [[nodiscard]] static std::optional<FrameLocation> place_now(const LiveFrames& live,
                                                              const MovedFrames& moved, std::uint64_t prefix,
                                                              const FrameLocation& location) {
    if (const auto now = moved.find(location)) return now;
    const PackInUse* pack = live.pack(location.pack);
    if (pack == nullptr) return location;  // written since
    if (!live.is_needed(prefix) || pack->used_bytes == 0) return std::nullopt;
    return location;
  }

  /// Makes the places of a snapshot say where its frames are now, and drops those that nothing needs: unless
  /// others have added to them since that was looked at.
  void rewrite(const SnapshotDigest& snapshot, const LiveFrames& live, const MovedFrames& moved) {
    const std::string key = places_key(snapshot);
    while (true) {
      const auto stat = store_.stat(key);
      const auto known = Places::open(store_, snapshot);
      const bool as_it_was = stat && stat->version == live.places_version(snapshot);
      const auto to = [&](std::uint64_t prefix,
                          const FrameLocation& location) -> std::optional<FrameLocation> {
        if (is_gone(location.pack, live)) return std::nullopt;
        const auto now = place_now(live, moved, prefix, location);
        return now || as_it_was ? now : std::optional(location);
      };
      std::vector<std::uint64_t> bases = known->bases().value_or(std::vector<std::uint64_t>{});
      bool changes = !known->bases();
      known->for_each([&](std::uint64_t prefix, const FrameLocation& location) {
        changes = changes || to(prefix, location) != location;
        if (live.bases().contains(prefix)) bases.push_back(prefix);
      });
      if (!changes) return;
      const Bytes bytes = rewrite_places(*known, to, std::move(bases));
      if (stat && store_.replace_if_version(key, bytes, stat->version)) return;
    }
  }

  void count_waiting() {
    for (const CondemnedBatch& batch : condemned_.batches) {
      for (const std::string& key : batch.keys) {
        const auto stat = store_.stat(key);
        if (!stat) continue;
        ++report_.waiting_files;
        report_.waiting_bytes += stat->bytes;
      }
      const std::int64_t until = batch.marked + options_.grace_seconds;
      report_.waiting_until = std::min(report_.waiting_until.value_or(until), until);
    }
    if (report_.waiting_files > 0) static_cast<void>(first_writer(&report_.waiting_for));
  }

  const Repository& repository_;
  Store& store_;
  const GcOptions& options_;
  Progress& progress_;
  std::unique_ptr<Lease> lease_;  // null for a dry run
  Condemned condemned_;
  std::unordered_map<PackDigest, bool, DigestHash> gone_;  // of packs that are not in a LiveFrames
  GcReport report_;
};

}  // namespace

GcReport collect_garbage(const std::shared_ptr<const Repository>& repository, const GcOptions& options,
                         Progress& progress) {
  return Collection(repository, options, progress).run();
}

}  // namespace vmpack
