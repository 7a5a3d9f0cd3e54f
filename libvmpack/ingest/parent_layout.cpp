// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/parent_layout.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"

namespace vmpack {
namespace {

constexpr int kAncestorsMax = 64;

struct KnownTable {
  SnapshotDigest snapshot;
  FileTableDigest table;
};

std::optional<KnownTable> nearest_table(const Repository& repository, SnapshotDigest snapshot) {
  for (int i = 0; i < kAncestorsMax; ++i) {
    const Manifest manifest = repository.manifest(snapshot);
    if (const auto table = file_table_of(repository, snapshot, manifest)) return KnownTable{snapshot, *table};
    if (!manifest.parent) break;
    snapshot = *manifest.parent;
  }
  return std::nullopt;
}

Volume volume_from(const VolumeSummary& summary) {
  Volume volume;
  // Where the pieces of a logical volume lie is not recorded.
  volume.range = {summary.offset, summary.name.empty() ? summary.bytes : 0};
  volume.name = summary.name;
  volume.number = summary.number;
  volume.type = summary.type;
  volume.label = summary.label;
  volume.uuid = summary.uuid;
  volume.inspected = summary.inspected;
  return volume;
}

bool lies_at(const FileEntry& file, std::span<const ByteRange> ranges) {
  return std::ranges::any_of(file.extents, [&](const FileExtent& extent) {
    return extent.length <= UINT64_MAX - extent.disk_offset &&
           touches(ranges, {extent.disk_offset, extent.length});
  });
}

}  // namespace

Layout recorded_layout(const Repository& repository, const SnapshotDigest& snapshot,
                       std::span<const ByteRange> ranges, Progress& progress) {
  const Manifest manifest = repository.manifest(snapshot);
  Layout layout;
  layout.image_bytes = manifest.image_bytes;
  layout.table = manifest.table;
  for (const VolumeSummary& summary : manifest.volumes) layout.volumes.push_back(volume_from(summary));
  try {
    const auto known = nearest_table(repository, snapshot);
    if (!known) return layout;
    const auto places = Places::open(repository.store(), known->snapshot);
    for_each_file(repository.store(), *places, known->table, [&](std::uint32_t volume, FileRecord file) {
      if (volume < layout.volumes.size() && lies_at(file.entry, ranges))
        layout.volumes[volume].files.push_back(std::move(file.entry));
    });
  } catch (const Error& error) {
    progress.warn(fmt::format("the changes are cut without knowing the files: {}", error.what()));
    for (Volume& volume : layout.volumes) volume.files.clear();
  }
  return layout;
}

}  // namespace vmpack
