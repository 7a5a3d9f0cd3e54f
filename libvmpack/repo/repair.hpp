// SPDX-License-Identifier: Apache-2.0
// Mends a repository as far as what is left, or another repository, allows. docs/mending.md tells how.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/verify.hpp"

namespace vmpack {

struct RepairOptions {
  bool dry_run = false;  ///< find out what could be mended, and write nothing
  unsigned threads = 1;
};

/// A frame that nothing brought back.
struct LostFrame {
  std::string file;  ///< the damaged or missing pack
  std::uint64_t offset = 0;
  std::uint64_t prefix = 0;  ///< first eight bytes of its digest
};

struct RepairReport {
  std::uint64_t damaged_frames = 0;
  std::uint64_t found_frames = 0;          ///< of those: stored once more in this repository
  std::uint64_t fetched_frames = 0;        ///< from the other one
  std::uint64_t made_frames = 0;           ///< made again from their objects, which others hold by now
  std::uint64_t bytes_fetched = 0;         ///< of frames, as stored
  std::vector<LostFrame> lost;             ///< out of the index; sorted by file and offset
  std::vector<std::string> mended_files;   ///< fetched, or made anew from others; sorted
  std::vector<std::string> removed_files;  ///< that nothing needs any more; sorted
  std::vector<VerifyFinding> left;         ///< other damage, which stays; sorted by file
};

/// Checks everything, then mends: files that are named by their digest come from `from` (which may be null);
/// damaged index files are made anew from packs, and places from the index; a damaged frame is looked for in
/// the rest of the repository, then in `from`, checked, stored in a new pack, and all places moved to that.
/// What stays lost is taken out of the object index, so that the next ingest stores its objects anew. A pack
/// whose frames all have a place elsewhere is removed. Killed at any moment, the repository is no worse, and
/// the next run ends the work. Throws what verify() throws.
RepairReport repair(const std::shared_ptr<Store>& store, const std::shared_ptr<const Repository>& from,
                    const RepairOptions& options, Progress& progress);

}  // namespace vmpack
