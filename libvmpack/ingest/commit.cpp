// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/commit.hpp"

#include <fmt/core.h>

#include <optional>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/repo/frame_walk.hpp"

namespace vmpack {
namespace {

constexpr unsigned kStatThreads = 8;

}  // namespace

void require_free_name(const Repository& repository, const ReferenceName& name, bool may_move) {
  if (may_move || !repository.find(name)) return;
  throw Error(ErrorCode::kAlreadyExists, fmt::format("{} exists already", name.text()),
              "choose another tag, or move it with --force");
}

FileTableRoot build_file_table_pages(const std::vector<std::vector<FileRecord>>& records, Packer& packer) {
  FileTableRoot root;
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    if (records[i].empty()) continue;
    root.file_count += records[i].size();
    root.volumes.push_back(build_file_table(i, records[i], [&](Bytes page) {
      return packer.store_single(ObjectClass::kFileTable, std::move(page));
    }));
  }
  return root;
}

MapDigest put_map_root(Store& store, const MapRoot& root) {
  const Bytes bytes = encode(root);
  const MapDigest digest(sha256(bytes));
  store.put_if_absent(map_key(digest), bytes);
  return digest;
}

FileTableDigest put_file_table_root(Store& store, const FileTableRoot& root) {
  const Bytes bytes = encode(root);
  const FileTableDigest digest(sha256(bytes));
  store.put_if_absent(file_table_key(digest), bytes);
  return digest;
}

void require_stored(Store& store, std::span<const ReliedPack> packs) {
  parallel_for(packs.size(), kStatThreads, [&](std::size_t i) {
    const std::string key = pack_key(packs[i].pack);
    const auto stat = store.stat(key);
    if (stat && stat->bytes >= packs[i].bytes_min) return;
    throw Error(
        ErrorCode::kIo,
        fmt::format("{}/{}, which the object index names, is {}", store.location(), key,
                    stat ? "shorter than it says" : "gone"),
        "nothing was committed: run the command again, and if that ends in the same way, 'vmpack repair' "
        "takes the pack out of the index");
  });
}

namespace {

/// Of how many places it is worth looking at least.
constexpr std::uint64_t kPlacesToPruneMin = 4096;

void drop_unused_places(const Repository& repository, const SnapshotDigest& snapshot,
                        const Manifest& manifest, std::span<const FramePlace> keep) {
  Store& store = repository.store();
  std::unordered_set<std::uint64_t> used;
  walk_frames(repository, snapshot, manifest,
              {[&](const FrameDigest& node) {
                 used.insert(node.prefix());
                 return true;
               },
               [&](const FrameDigest& frame) { used.insert(frame.prefix()); }});
  const auto stat = store.stat(places_key(snapshot));
  const auto known = Places::open(store, snapshot);
  std::vector<std::uint64_t> bases = known->bases().value();
  used.insert(bases.begin(), bases.end());
  const auto if_used = [&](std::uint64_t prefix, const FrameLocation& location) {
    return used.contains(prefix) ? std::optional(location) : std::nullopt;
  };
  // When somebody else has changed them meanwhile, they are dropped another time.
  if (stat) {
    const Bytes bytes = rewrite_places(*known, if_used, std::move(bases), keep);
    static_cast<void>(store.replace_if_version(places_key(snapshot), bytes, stat->version));
  }
}

}  // namespace

void add_to_places(const Repository& repository, const SnapshotDigest& snapshot, const Manifest& manifest,
                   std::span<const FramePlace> places) {
  Store& store = repository.store();
  const std::string key = places_key(snapshot);
  while (true) {
    const auto stat = store.stat(key);
    const auto known = Places::open(store, stat ? snapshot : manifest.parent.value());
    const Bytes bytes = extend_places(snapshot, *known, places);
    const auto version = stat ? std::optional(stat->version) : std::nullopt;
    if (!store.replace_if_version(key, bytes, version)) continue;
    const std::uint64_t count = known->count() + places.size();
    const std::uint64_t known_used = known->known_used();
    if (known->bases() && count >= kPlacesToPruneMin && count > known_used + known_used / 2)
      drop_unused_places(repository, snapshot, manifest, places);
    return;
  }
}

}  // namespace vmpack
