// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/copy_plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {
namespace {

/// Nodes that are in memory at once.
constexpr std::size_t kNodesAtOnce = 1024;
constexpr std::size_t kRecentBasesMax = 64;

std::string node_name(const FrameDigest& frame) { return fmt::format("block-map node {}", frame.hex()); }

std::vector<FrameDigest> frames_of(const std::vector<MapChild>& children) {
  std::vector<FrameDigest> frames;
  frames.reserve(children.size());
  for (const MapChild& child : children) frames.push_back(child.frame);
  return frames;
}

}  // namespace

Bytes get_named(Store& store, const std::string& key, std::uint64_t bytes_max, const Digest& digest) {
  Bytes bytes = store.get(key, bytes_max);
  if (sha256(bytes) == digest) return bytes;
  throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its bytes do not match its name", key),
              "'vmpack repair --from' fetches it from another repository");
}

CopyPlan::CopyPlan(CopyEnds ends, std::span<const SnapshotDigest> snapshots) : ends_(std::move(ends)) {
  for (const SnapshotDigest& snapshot : snapshots) add_snapshot(snapshot);
  settle_new_frames();
  std::vector<Node> directories;
  for (std::uint32_t i = 0; i < snapshots_.size(); ++i) {
    for (const MapChild& child : roots_[i].directories) directories.push_back({numbers_.at(child.frame), i});
  }
  const std::vector<Node> pages = read_nodes(directories, [&](const Node& node, const DecodedFrame& frame) {
    const FrameDigest& digest = frames_[node.frame].digest;
    return vmpack::frames_of(
        decode_map_directory(frame.bytes, roots_[node.snapshot], node_name(digest)).pages);
  });
  read_nodes(pages, [&](const Node& node, const DecodedFrame& frame) {
    return decode_map_page(frame.bytes, roots_[node.snapshot], node_name(frames_[node.frame].digest)).frames;
  });
  settle_bases();
  require_all();
}

void CopyPlan::add_snapshot(const SnapshotDigest& snapshot) {
  Store& store = ends_.source->store();
  const std::size_t position = snapshots_.size();
  PlannedSnapshot planned{snapshot, ends_.source->manifest(snapshot), {}};
  planned.files = file_table_of(*ends_.source, snapshot, planned.manifest);
  const std::string key = map_key(planned.manifest.map);
  roots_.push_back(
      decode_map_root(get_named(store, key, limits::kMapRootBytesMax, planned.manifest.map), key));
  std::vector<std::uint32_t>& tops = tops_.emplace_back();
  for (const MapChild& child : roots_.back().directories) tops.push_back(add_frame(child.frame, position));
  if (planned.files) {
    const std::string table = file_table_key(*planned.files);
    const FileTableRoot root = decode_file_table_root(
        get_named(store, table, limits::kFileTableRootBytesMax, *planned.files), table);
    for (const FileTableVolume& volume : root.volumes) {
      for (const FileTablePage& page : volume.pages) tops.push_back(add_frame(page.frame, position));
    }
  }
  snapshots_.push_back(std::move(planned));
}

std::uint32_t CopyPlan::add_frame(const FrameDigest& frame, std::size_t snapshot) {
  const auto [entry, is_new] = numbers_.try_emplace(frame, static_cast<std::uint32_t>(frames_.size()));
  if (is_new) {
    frames_.push_back({frame, {}, {}, {}});
    first_snapshot_.push_back(static_cast<std::uint32_t>(snapshot));
    new_frames_.push_back(entry->second);
  }
  return entry->second;
}

/// Finds out where the frames are that were added since the last call.
void CopyPlan::settle_new_frames() {
  FrameNumbers wanted;
  for (const std::uint32_t number : std::exchange(new_frames_, {})) {
    PlannedFrame& frame = frames_[number];
    auto locations = ends_.locate(first_snapshot_[number], frame.digest);
    if (!locations.empty()) frame.from = locations.front();
    if (locations.size() > 1) alike_[number] = std::move(locations);
    if (!frame.to) wanted.emplace(frame.digest, number);
  }
  if (wanted.empty()) return;
  ends_.find(wanted, [&](const FramePlace& found, const std::vector<FramePlace>& bases) {
    const std::uint32_t number = wanted.at(found.frame);
    if (frames_[number].to) return;
    std::vector<std::uint32_t> base_numbers;
    for (const FramePlace& base : bases) {
      const std::uint32_t base_number = add_frame(base.frame, first_snapshot_[number]);
      if (!frames_[base_number].to) frames_[base_number].to = base.location;
      base_numbers.push_back(base_number);
    }
    frames_[number].to = found.location;
    frames_[number].bases = std::move(base_numbers);
  });
}

/// Reads those of `nodes` that were not read yet, adds the frames that they name, and returns these as nodes.
template <typename Children>
std::vector<CopyPlan::Node> CopyPlan::read_nodes(std::span<const Node> nodes, const Children& children) {
  std::vector<Node> unread;
  for (const Node& node : nodes) {
    if (children_.try_emplace(node.frame).second) unread.push_back(node);
  }
  std::vector<Node> found;
  for (std::size_t at = 0; at < unread.size(); at += kNodesAtOnce) {
    const auto some = std::span(unread).subspan(at, std::min(kNodesAtOnce, unread.size() - at));
    std::vector<std::vector<FrameDigest>> named(some.size());
    parallel_for(some.size(), kReadsAtOnce,
                 [&](std::size_t i) { named[i] = children(some[i], *read(frames_[some[i].frame].digest)); });
    for (std::size_t i = 0; i < some.size(); ++i) {
      for (const FrameDigest& frame : named[i]) {
        const std::uint32_t number = add_frame(frame, some[i].snapshot);
        children_[some[i].frame].push_back(number);
        found.push_back({number, some[i].snapshot});
      }
    }
  }
  settle_new_frames();
  return found;
}

std::vector<FrameLocation> CopyPlan::candidates(std::uint32_t number) const {
  if (const auto alike = alike_.find(number); alike != alike_.end()) return alike->second;
  const auto& from = frames_[number].from;
  return from ? std::vector<FrameLocation>{*from} : std::vector<FrameLocation>{};
}

/// What the missing frames stand on, by the tables of their packs.
void CopyPlan::settle_bases() {
  std::size_t settled = 0;
  while (settled < frames_.size()) {
    std::map<PackDigest, std::vector<std::uint32_t>> by_pack;
    for (auto i = static_cast<std::uint32_t>(settled); i < frames_.size(); ++i) {
      if (frames_[i].to) continue;
      for (const FrameLocation& location : candidates(i)) by_pack[location.pack].push_back(i);
    }
    settled = frames_.size();
    std::vector<PackDigest> packs;
    for (const auto& [pack, numbers] : by_pack) packs.push_back(pack);
    for (std::size_t at = 0; at < packs.size(); at += kReadsAtOnce) {
      const auto some = std::span(packs).subspan(at, std::min<std::size_t>(kReadsAtOnce, packs.size() - at));
      std::vector<PackTables> tables(some.size());
      parallel_for(some.size(), kReadsAtOnce,
                   [&](std::size_t i) { tables[i] = read_pack_tables(ends_.source->store(), some[i]); });
      for (std::size_t i = 0; i < some.size(); ++i) settle_moved(tables[i], some[i], by_pack.at(some[i]));
    }
    settle_new_frames();
  }
}

/// Which of the places that may be a frame's is its own, and what it stands on.
void CopyPlan::settle_moved(const PackTables& tables, const PackDigest& pack,
                            std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers) {
    for (const FrameLocation& location : candidates(number)) {
      if (location.pack != pack) continue;
      const auto found = std::ranges::lower_bound(tables.frames, location.offset, {}, &PackFrame::offset);
      if (found == tables.frames.end() || found->offset != location.offset ||
          found->digest != frames_[number].digest) {
        continue;
      }
      frames_[number].from = location;
      frames_[number].bases.clear();
      for (const FrameDigest& base : found->bases) {
        const std::uint32_t base_number = add_frame(base, first_snapshot_[number]);
        frames_[number].bases.push_back(base_number);
      }
    }
  }
}

void CopyPlan::require_all() const {
  std::uint64_t lacking = 0;
  const PlannedFrame* first = nullptr;
  for (const PlannedFrame& frame : frames_) {
    if (frame.from || frame.to) continue;
    if (lacking++ == 0) first = &frame;
  }
  if (lacking == 0) return;
  throw Error(ErrorCode::kDamaged,
              fmt::format("{} of {} frames are neither in {} nor on the other side, among them {}", lacking,
                          frames_.size(), ends_.source->store().location(), first->digest.hex()),
              "'vmpack verify' there says what is damaged; an exported file needs the snapshots that it was "
              "made to follow");
}

std::vector<std::uint32_t> CopyPlan::frames_of(std::size_t snapshot) const {
  std::vector<bool> seen(frames_.size());
  std::vector<std::uint32_t> found;
  const auto see = [&](std::uint32_t number) {
    if (seen[number]) return;
    seen[number] = true;
    found.push_back(number);
  };
  for (const std::uint32_t top : tops_[snapshot]) see(top);
  // Grows while it is walked: directories lead to pages, pages to data, any of them to bases.
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::uint32_t number = found[i];
    if (const auto children = children_.find(number); children != children_.end()) {
      for (const std::uint32_t child : children->second) see(child);
    }
    for (const std::uint32_t base : frames_[number].bases) see(base);
  }
  std::ranges::sort(found);
  return found;
}

std::vector<FramePlace> CopyPlan::places_of(std::size_t snapshot) const {
  const std::vector<std::uint32_t> numbers = frames_of(snapshot);
  std::vector<bool> is_base(frames_.size());
  for (const std::uint32_t number : numbers) {
    for (const std::uint32_t base : frames_[number].bases) is_base[base] = true;
  }
  std::vector<FramePlace> places;
  places.reserve(numbers.size());
  for (const std::uint32_t number : numbers) {
    places.push_back({frames_[number].digest, *frames_[number].to, is_base[number]});
  }
  return places;
}

std::vector<std::uint32_t> CopyPlan::missing() const {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i < frames_.size(); ++i) {
    if (!frames_[i].to) numbers.push_back(i);
  }
  return numbers;
}

/// In the source. What a node of a map stands on may not be among the frames yet.
std::vector<FrameLocation> CopyPlan::locations(const FrameDigest& frame) const {
  if (const auto number = numbers_.find(frame); number != numbers_.end()) return candidates(number->second);
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    if (auto found = ends_.locate(i, frame); !found.empty()) return found;
  }
  return {};
}

FramePtr CopyPlan::read(const FrameDigest& digest) const {
  const auto base = [this](const FrameDigest& frame) { return read_base(frame); };
  const auto here = locations(digest);
  for (std::size_t i = 0; i < here.size(); ++i) {
    try {
      return read_frame(ends_.source->store(), digest, here[i], base);
    } catch (const Error&) {
      if (i + 1 == here.size()) throw;
    }
  }
  const auto number = numbers_.find(digest);
  if (number != numbers_.end() && frames_[number->second].to && ends_.other != nullptr) {
    return read_frame(*ends_.other, digest, *frames_[number->second].to, base);
  }
  throw Error(ErrorCode::kDamaged, fmt::format("frame {} is neither in {} nor on the other side",
                                               digest.hex(), ends_.source->store().location()));
}

/// Neighbours stand on the same frames.
FramePtr CopyPlan::read_base(const FrameDigest& digest) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = recent_bases_.find(digest); known != recent_bases_.end()) return known->second;
  }
  FramePtr base = read(digest);
  const std::lock_guard lock(mutex_);
  if (recent_bases_.size() >= kRecentBasesMax) recent_bases_.clear();
  return recent_bases_.try_emplace(digest, std::move(base)).first->second;
}

struct IndexedFrames::State {
  State(Store& opened, const PackSet& condemned) : store(opened) {
    for (const PackDigest& pack : condemned) packs.emplace(pack, false);
    for (const std::string& key : list_index_files(store)) files.push_back(ObjectIndexFile::open(store, key));
  }

  bool has(const PackDigest& pack) {
    const auto [entry, is_new] = packs.try_emplace(pack, false);
    if (is_new) entry->second = store.stat(pack_key(pack)).has_value();
    return entry->second;
  }

  Store& store;
  std::vector<std::unique_ptr<ObjectIndexFile>> files;
  std::unordered_map<PackDigest, bool, DigestHash> packs;  // whether they are there to stay
};

IndexedFrames::IndexedFrames(Store& store, const PackSet& condemned)
    : state_(std::make_unique<State>(store, condemned)) {}
IndexedFrames::~IndexedFrames() = default;

void IndexedFrames::find(const FrameNumbers& wanted, const FoundFrame& found) {
  for (const auto& file : state_->files) {
    for (std::uint32_t i = 0; i < file->frame_count(); ++i) {
      const IndexedFrame frame = file->frame(i);
      if (!wanted.contains(frame.place.frame) || !state_->has(frame.place.location.pack)) continue;
      const bool stands = std::ranges::all_of(
          frame.bases, [&](const FramePlace& base) { return state_->has(base.location.pack); });
      if (stands) found(frame.place, frame.bases);
    }
    file->release();
  }
}

LocateFrame locate_by_places(Store& store, std::span<const SnapshotDigest> snapshots) {
  auto places = std::make_shared<std::vector<std::unique_ptr<Places>>>();
  for (const SnapshotDigest& snapshot : snapshots) places->push_back(Places::open(store, snapshot));
  return
      [places](std::size_t snapshot, const FrameDigest& frame) { return (*places)[snapshot]->find(frame); };
}

}  // namespace vmpack
