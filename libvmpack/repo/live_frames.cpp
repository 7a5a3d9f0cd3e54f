// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/live_frames.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/repo/frame_walk.hpp"
#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {
namespace {

/// Tables of packs that are read at once.
constexpr unsigned kTablesAtOnce = 8;

/// What begins with one of these is there for snapshots, and for nothing else.
bool is_of_snapshots(std::string_view key) {
  constexpr std::array<std::string_view, 6> kPrefixes{"packs/",  "maps/",      "files/",
                                                      "places/", "snapshots/", "notes/"};
  return std::ranges::any_of(kPrefixes, [&](std::string_view prefix) { return key.starts_with(prefix); });
}

std::optional<SnapshotDigest> snapshot_of_note(std::string_view key) {
  constexpr std::string_view kNotes = "notes/";
  if (!key.starts_with(kNotes)) return std::nullopt;
  const auto digest = Digest::from_hex(key.substr(kNotes.size(), 2 * kDigestBytes));
  return digest ? std::optional(SnapshotDigest(*digest)) : std::nullopt;
}

}  // namespace

std::vector<SnapshotDigest> named_snapshots(const Repository& repository) {
  // Before the references: a writer's lease keeps its snapshot until a reference does.
  const std::vector<LeaseFacts> leases = list_leases(repository.store());
  std::vector<std::string> damaged;
  std::vector<ReferenceEntry> references = repository.references(&damaged);
  if (!damaged.empty()) {
    throw Error(ErrorCode::kDamaged, damaged.front(),
                "'vmpack verify' tells more; until it is mended, nothing can be told to be unused");
  }
  std::ranges::stable_sort(references, std::greater{}, &ReferenceEntry::modified_seconds);
  std::vector<SnapshotDigest> snapshots;
  std::unordered_set<SnapshotDigest, DigestHash> seen;
  const auto add = [&](const SnapshotDigest& snapshot) {
    if (seen.insert(snapshot).second) snapshots.push_back(snapshot);
  };
  for (const ReferenceEntry& reference : references) add(reference.snapshot);
  const std::int64_t now = repository.store().now();
  for (const LeaseFacts& lease : leases) {
    if (!lease.snapshot || lease.is_over(now)) continue;
    // A writer that comes too late finds out by itself, and names nothing.
    if (lease.kind == LeaseKind::kWriter && !repository.store().stat(manifest_key(*lease.snapshot))) continue;
    add(*lease.snapshot);
  }
  return snapshots;
}

std::uint64_t PackInUse::unused_bytes() const {
  std::uint64_t unused = 0;
  for (const PackedFrame& frame : frames) unused += frame.in_use ? 0 : frame.stored_bytes;
  return unused;
}

PackedFrame* PackInUse::frame_at(const FrameLocation& location) {
  const auto frame = std::ranges::lower_bound(frames, location.offset, {}, &PackedFrame::offset);
  const bool is_it = frame != frames.end() && frame->offset == location.offset &&
                     frame->stored_bytes == location.stored_bytes;
  return is_it ? &*frame : nullptr;
}

LiveFrames::LiveFrames(const Repository& repository, std::vector<SnapshotDigest> snapshots,
                       Progress& progress)
    : repository_(repository),
      snapshots_(std::move(snapshots)),
      snapshot_set_(snapshots_.begin(), snapshots_.end()) {
  progress.begin("reading block maps", 0);
  for (const SnapshotDigest& snapshot : snapshots_) walk(snapshot);
  progress.end();
  read_packs(progress);
  for (const SnapshotDigest& snapshot : snapshots_) mark(snapshot);
}

void LiveFrames::walk(const SnapshotDigest& snapshot) {
  const Manifest manifest = repository_.manifest(snapshot);
  small_files_.insert({manifest_key(snapshot), places_key(snapshot), map_key(manifest.map)});
  if (const auto files = file_table_of(repository_, snapshot, manifest))
    small_files_.insert(file_table_key(*files));
  walk_frames(repository_, snapshot, manifest,
              {[&](const FrameDigest& node) {
                 // What lies below a node that was met is known.
                 return order_.try_emplace(node.prefix(), next_node_++).second;
               },
               [&](const FrameDigest& frame) { order_.try_emplace(frame.prefix(), next_data_++); }});
}

void LiveFrames::read_packs(Progress& progress) {
  std::uint64_t total = 0;
  repository_.store().list("packs/", [&](const std::string& key, std::uint64_t bytes) {
    if (const auto pack = pack_of_key(key)) packs_.push_back({*pack, bytes, 0, {}});
    total += bytes;
  });
  progress.begin("reading packs' tables", total);
  std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>> bases(packs_.size());
  parallel_for(packs_.size(), kTablesAtOnce, [&](std::size_t i) {
    PackInUse& pack = packs_[i];
    PackTables tables;
    try {
      tables = read_pack_tables(repository_.store(), pack.digest);
    } catch (const Error& error) {
      // Whether anything needs a damaged one, mark() will see.
      if (error.code() != ErrorCode::kDamaged) throw;
    }
    pack.frames.reserve(tables.frames.size());
    for (const PackFrame& frame : tables.frames) {
      pack.frames.push_back({frame.digest.prefix(), frame.offset, frame.stored_bytes, false});
      if (!order_.contains(frame.digest.prefix())) continue;
      for (const FrameDigest& base : frame.bases) bases[i].emplace_back(frame.digest.prefix(), base.prefix());
    }
    progress.advance(pack.bytes);
  });
  for (std::size_t i = 0; i < packs_.size(); ++i) {
    pack_numbers_.emplace(packs_[i].digest, i);
    for (const auto& [frame, base] : bases[i]) {
      order_.try_emplace(base, next_data_++);
      bases_.insert(base);
      bases_of_.emplace(frame, base);
    }
  }
  progress.end();
}

void LiveFrames::mark(const SnapshotDigest& snapshot) {
  const auto stat = repository_.store().stat(places_key(snapshot));
  const auto places = Places::open(repository_.store(), snapshot);
  if (stat) places_versions_.emplace(snapshot, stat->version);
  // Of several places of one frame, one must be right: the others may be from before it was moved.
  std::unordered_map<std::uint64_t, FrameLocation> nowhere;
  std::unordered_set<std::uint64_t> found;
  places->for_each([&](std::uint64_t prefix, const FrameLocation& location) {
    if (!order_.contains(prefix)) return;
    const auto number = pack_numbers_.find(location.pack);
    PackInUse* pack = number == pack_numbers_.end() ? nullptr : &packs_[number->second];
    PackedFrame* frame = pack == nullptr ? nullptr : pack->frame_at(location);
    if (frame == nullptr || frame->prefix != prefix) {
      nowhere.emplace(prefix, location);
      return;
    }
    found.insert(prefix);
    if (frame->in_use) return;
    frame->in_use = true;
    pack->used_bytes += frame->stored_bytes;
  });
  std::erase_if(nowhere, [&](const auto& place) { return found.contains(place.first); });
  if (!nowhere.empty()) require_unneeded(snapshot, nowhere, places->key());
}

/// Frames that others need may have a place here from when this snapshot's ancestors did.
void LiveFrames::require_unneeded(const SnapshotDigest& snapshot,
                                  const std::unordered_map<std::uint64_t, FrameLocation>& nowhere,
                                  const std::string& places) const {
  const auto require = [&](std::uint64_t prefix) {
    const auto wrong = nowhere.find(prefix);
    if (wrong == nowhere.end()) return;
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: it points to {} at offset {}, where no such frame is", places,
                            pack_key(wrong->second.pack), wrong->second.offset),
                "'vmpack verify' tells more; until it is mended, nothing is collected");
  };
  walk_frames(repository_, snapshot, repository_.manifest(snapshot),
              {[&](const FrameDigest& node) {
                 require(node.prefix());
                 return true;
               },
               [&](const FrameDigest& frame) {
                 require(frame.prefix());
                 const auto [first, last] = bases_of_.equal_range(frame.prefix());
                 for (auto base = first; base != last; ++base) require(base->second);
               }});
}

const PackInUse* LiveFrames::pack(const PackDigest& digest) const {
  const auto number = pack_numbers_.find(digest);
  return number == pack_numbers_.end() ? nullptr : &packs_[number->second];
}

bool LiveFrames::is_needed(const std::string& key) const {
  if (!is_of_snapshots(key)) return true;
  if (const auto digest = pack_of_key(key)) {
    const PackInUse* found = pack(*digest);
    return found == nullptr || found->used_bytes > 0;
  }
  if (const auto snapshot = snapshot_of_note(key)) return snapshot_set_.contains(*snapshot);
  return small_files_.contains(key);
}

std::uint64_t LiveFrames::used_bytes() const {
  std::uint64_t bytes = 0;
  for (const PackInUse& pack : packs_) bytes += pack.used_bytes;
  return bytes;
}

std::uint64_t LiveFrames::unused_bytes() const {
  std::uint64_t bytes = 0;
  for (const PackInUse& pack : packs_) bytes += pack.unused_bytes();
  return bytes;
}

}  // namespace vmpack
