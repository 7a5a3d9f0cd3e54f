// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/frame_walk.hpp"

#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {

void walk_frames(const Repository& repository, const SnapshotDigest& snapshot, const Manifest& manifest,
                 const FrameVisitor& visitor) {
  const MapReader map(repository.store(), snapshot, manifest.map);
  for (const MapChild& directory : map.root().directories) {
    if (!visitor.enter(directory.frame)) continue;
    for (const MapChild& page : map.directory_in(directory.frame).pages) {
      if (!visitor.enter(page.frame)) continue;
      for (const FrameDigest& frame : map.page(page.frame).frames) visitor.see(frame);
    }
  }
  if (const auto files = file_table_of(repository, snapshot, manifest)) {
    const FileTable table(repository.store(), map.places(), *files);
    for (const FileTableVolume& volume : table.volumes()) {
      for (const FileTablePage& page : volume.pages) visitor.see(page.frame);
    }
  }
}

}  // namespace vmpack
