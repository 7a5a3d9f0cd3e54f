// SPDX-License-Identifier: Apache-2.0
// What damage affects: from frames that cannot be read to snapshots, references and files in the guest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/reference.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/verify.hpp"

namespace vmpack {

/// A file of which some cannot be read.
struct AffectedFile {
  std::uint32_t volume = 0;  ///< position in the manifest's layout
  std::string path;          ///< bytes as the file system has them
  std::uint64_t bytes = 0;   ///< that cannot be read
};

struct AffectedSnapshot {
  SnapshotDigest snapshot;
  std::vector<ReferenceName> references;  ///< that point to it
  std::string unusable;                   ///< why nothing of it can be read; empty where only parts cannot
  std::uint64_t bytes = 0;                ///< of the image that cannot be read
  std::vector<AffectedFile> files;        ///< in the order of the file table
  std::uint64_t outside_files = 0;        ///< of `bytes`: metadata, free space, what could not be inspected
  bool files_known = false;               ///< there is a file table, and all of it can be read
};

/// A frame that cannot be read, from wherever snapshots place it.
struct AffectingFrame {
  FrameDigest frame;
  std::string where;                   ///< the file that is damaged or missing
  std::string what;                    ///< why it cannot be read
  std::vector<std::size_t> snapshots;  ///< that need it, in Impact::snapshots
};

struct Impact {
  std::vector<AffectingFrame> frames;
  std::vector<AffectedSnapshot> snapshots;  ///< sorted by digest
};

/// What the damage in `report` affects. Looks at every snapshot, and reads again only what lies in damaged or
/// missing packs.
[[nodiscard]] Impact find_impact(const Repository& repository, const VerifyReport& report,
                                 Progress& progress);

}  // namespace vmpack
