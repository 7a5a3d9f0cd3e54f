// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/map_reader.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

MapRoot read_root(Store& store, const MapDigest& map) {
  const std::string key = map_key(map);
  const Bytes bytes = store.get(key, limits::kMapRootBytesMax);
  if (sha256(bytes) != map) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its bytes do not match its name", key),
                "restore the file from a copy of the repository");
  }
  return decode_map_root(bytes, key);
}

std::string node_name(const FrameDigest& frame) { return fmt::format("block-map node {}", frame.hex()); }

}  // namespace

MapReader::MapReader(Store& store, const SnapshotDigest& snapshot, const MapDigest& map)
    : root_(read_root(store, map)), places_(Places::open(store, snapshot)) {}

std::optional<MapDirectory> MapReader::directory(std::uint64_t number) const {
  const auto child = std::ranges::lower_bound(root_.directories, number, {}, &MapChild::index);
  if (child == root_.directories.end() || child->index != number) return std::nullopt;
  return directory_in(child->frame);
}

MapDirectory MapReader::directory_in(const FrameDigest& digest) const {
  return decode_map_directory(frame(digest)->bytes, root_, node_name(digest));
}

MapPage MapReader::page(const FrameDigest& digest) const {
  return decode_map_page(frame(digest)->bytes, root_, node_name(digest));
}

void MapReader::for_each_page(
    const std::function<void(std::uint64_t region_start, const MapPage& page)>& each,
    ByteRange within) const {
  const auto reaches_into = [&](std::uint64_t start, std::uint64_t bytes) {
    return start < within.end() && within.offset < start + bytes;
  };
  const std::uint64_t directory_bytes = root_.regions_per_directory * root_.region_bytes;
  for (const MapChild& child : root_.directories) {
    const std::uint64_t start = child.index * directory_bytes;
    if (!reaches_into(start, directory_bytes)) continue;
    const auto pages = directory(child.index);
    for (const MapChild& entry : pages->pages) {
      const std::uint64_t region_start = start + entry.index * root_.region_bytes;
      if (reaches_into(region_start, root_.region_bytes)) each(region_start, page(entry.frame));
    }
  }
}

}  // namespace vmpack
