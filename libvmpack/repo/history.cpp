// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/history.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {
namespace {

using Entries = std::unordered_map<SnapshotDigest, HistoryEntry, DigestHash>;

/// Adds the snapshot and its ancestors as far as they are in the store and not in `entries` yet.
void add_with_ancestors(const Repository& repository, const SnapshotDigest& first, Entries& entries,
                        std::vector<std::string>& damaged) {
  std::optional<SnapshotDigest> next = first;
  while (next && !entries.contains(*next)) {
    const SnapshotDigest snapshot = *next;
    next.reset();
    try {
      const Manifest manifest = repository.manifest(snapshot);
      HistoryEntry entry{.snapshot = snapshot,
                         .parent = manifest.parent,
                         .seconds = repository.stored_seconds(snapshot),
                         .image_bytes = manifest.image_bytes,
                         .data_bytes = manifest.data_bytes,
                         .labels = manifest.labels};
      entries.emplace(snapshot, std::move(entry));
      next = manifest.parent;
    } catch (const Error& error) {
      // A parent may have been forgotten; what was asked for must be there.
      if (error.code() != ErrorCode::kNotFound || snapshot == first) damaged.emplace_back(error.what());
    }
  }
}

void add_references(const Repository& repository, Entries& entries, std::vector<std::string>& damaged) {
  for (ReferenceEntry& reference : repository.references(&damaged)) {
    const auto entry = entries.find(reference.snapshot);
    if (entry != entries.end()) entry->second.references.push_back(std::move(reference.name));
  }
}

/// The newest first, and each before its parent, whatever the clocks said.
std::vector<HistoryEntry> in_order(Entries entries) {
  std::unordered_map<SnapshotDigest, std::size_t, DigestHash> children;
  for (const auto& [snapshot, entry] : entries) {
    if (entry.parent && entries.contains(*entry.parent)) ++children[*entry.parent];
  }
  const auto is_older = [](const HistoryEntry* a, const HistoryEntry* b) {
    return std::pair(a->seconds, a->snapshot.bytes) < std::pair(b->seconds, b->snapshot.bytes);
  };
  std::priority_queue<HistoryEntry*, std::vector<HistoryEntry*>, decltype(is_older)> ready(is_older);
  for (auto& [snapshot, entry] : entries) {
    if (!children.contains(snapshot)) ready.push(&entry);
  }
  std::vector<HistoryEntry> ordered;
  while (!ready.empty()) {
    HistoryEntry& entry = *ready.top();
    ready.pop();
    const auto parent = entry.parent ? entries.find(*entry.parent) : entries.end();
    if (parent != entries.end() && --children[parent->first] == 0) ready.push(&parent->second);
    ordered.push_back(std::move(entry));
  }
  std::unordered_map<SnapshotDigest, std::size_t, DigestHash> positions;
  for (std::size_t i = ordered.size(); i-- > 0;) {
    positions[ordered[i].snapshot] = i;
    if (!ordered[i].parent) continue;
    const auto parent = positions.find(*ordered[i].parent);
    if (parent != positions.end()) ordered[i].parent_entry = parent->second;
  }
  return ordered;
}

struct StoredFrame {
  std::uint64_t prefix = 0;  // of its digest: that is enough to tell frames apart
  std::uint32_t bytes = 0;
};

/// The frames that a snapshot uses, each once, sorted.
std::vector<StoredFrame> frames_of(Store& store, const SnapshotDigest& snapshot) {
  std::vector<StoredFrame> frames;
  Places::open(store, snapshot)->for_each([&](std::uint64_t prefix, const FrameLocation& location) {
    if (frames.empty() || frames.back().prefix != prefix) frames.push_back({prefix, location.stored_bytes});
  });
  return frames;
}

std::uint64_t bytes_without(const std::vector<StoredFrame>& frames, const std::vector<StoredFrame>& base) {
  std::uint64_t bytes = 0;
  for (const StoredFrame& frame : frames) {
    const auto known = std::ranges::lower_bound(base, frame.prefix, {}, &StoredFrame::prefix);
    if (known == base.end() || known->prefix != frame.prefix) bytes += frame.bytes;
  }
  return bytes;
}

/// Tells what each snapshot added, from the oldest on. One whose places are damaged counts as nothing.
class Growth {
 public:
  explicit Growth(Store& store) : store_(store) {}

  void count(std::vector<HistoryEntry>& ordered, std::vector<std::string>& damaged) {
    for (auto entry = ordered.rbegin(); entry != ordered.rend(); ++entry) {
      try {
        entry->added_bytes = added_by(*entry);
      } catch (const Error& error) {
        damaged.emplace_back(error.what());
      }
    }
  }

 private:
  std::uint64_t added_by(const HistoryEntry& entry) {
    const std::vector<StoredFrame> frames = frames_of(store_, entry.snapshot);
    std::uint64_t unseen_bytes = 0;
    for (const StoredFrame& frame : frames) {
      if (seen_.insert(frame.prefix).second) unseen_bytes += frame.bytes;
    }
    // In a chain the parent is the one before.
    if (entry.parent_entry && last_ != entry.parent) last_frames_ = frames_of(store_, *entry.parent);
    const std::uint64_t added = entry.parent_entry ? bytes_without(frames, last_frames_) : unseen_bytes;
    last_ = entry.snapshot;
    last_frames_ = frames;
    return added;
  }

  Store& store_;
  std::unordered_set<std::uint64_t> seen_;
  std::optional<SnapshotDigest> last_;
  std::vector<StoredFrame> last_frames_;
};

}  // namespace

std::vector<HistoryEntry> history(const Repository& repository, std::string_view name,
                                  const std::optional<SnapshotDigest>& from,
                                  std::vector<std::string>& damaged) {
  Entries entries;
  if (from) add_with_ancestors(repository, *from, entries, damaged);
  for (const NamedSnapshot& named : repository.committed_as(name)) {
    if (!from) add_with_ancestors(repository, named.snapshot, entries, damaged);
    const auto entry = entries.find(named.snapshot);
    if (entry == entries.end()) continue;
    entry->second.named = true;
    entry->second.seconds = named.seconds;
  }
  add_references(repository, entries, damaged);
  std::vector<HistoryEntry> ordered = in_order(std::move(entries));
  Growth(repository.store()).count(ordered, damaged);
  return ordered;
}

}  // namespace vmpack
