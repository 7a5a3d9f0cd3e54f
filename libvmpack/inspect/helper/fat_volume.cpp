// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/fat_volume.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "libvmpack/inspect/helper/fat_tree.hpp"
#include "libvmpack/inspect/helper/volume_report.hpp"

namespace vmpack {
namespace {

void report_free(const FatGeometry& geometry, const FatTable& table, const FatTree& files, ByteRange volume,
                 LayoutStreamWriter& out) {
  ClusterMap clusters(geometry.clusters);
  for (std::uint32_t i = 0; i < geometry.clusters; ++i) {
    const std::uint32_t cluster = i + FatTable::kFirstCluster;
    if (table.is_free(cluster) && !files.is_claimed(cluster)) clusters.set_free(i, 1);
  }
  clusters.for_each_free([&](std::uint64_t first, std::uint64_t count) {
    out.free({volume.offset + geometry.data_offset + first * geometry.cluster_bytes,
              count * geometry.cluster_bytes});
  });
}

}  // namespace

void report_fat_volume(ImageClient& image, Volume found, LayoutStreamWriter& out) {
  const auto geometry = read_fat_geometry(image);
  if (!geometry) {
    report_unreadable(found, found.type, "its boot sector makes no sense", out);
    return;
  }
  FatTable table(*geometry);
  if (!table.load(image)) {
    report_unreadable(found, found.type, "its allocation table is out of reach", out);
    return;
  }
  FileTree tree(image.range());
  FatTree files(image, *geometry, table, tree);
  files.read_all();

  if (found.label.empty()) found.label = files.label();
  found.block_bytes = geometry->cluster_bytes;
  found.dirty = geometry->marked_dirty || table.marked_dirty();
  out.file_system(found, tree.size());
  tree.report(files.root(), out);
  std::vector<std::string> damage;
  describe(tree.damage(), damage);
  if (table.copies_differ()) {
    damage.emplace_back("copies of its allocation table that differ");
  } else if (files.has_files_in_free_space()) {
    damage.emplace_back("files in what it calls free");
  } else {
    report_free(*geometry, table, files, image.range(), out);
  }
  if (!damage.empty()) out.warning(fmt::format("its file system is damaged: {}", fmt::join(damage, ", ")));
  out.end(true);
}

}  // namespace vmpack
