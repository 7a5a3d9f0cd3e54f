// SPDX-License-Identifier: Apache-2.0
// Checks that what a repository holds is what it says: the whole chain from references to objects, and every
// checksum.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

struct VerifyOptions {
  std::string reference;  ///< only what this snapshot needs; empty: everything
  bool quick = false;     ///< leave frames unread: checks that all is there, and all small files
  unsigned threads = 1;
};

struct VerifyFinding {
  std::string file;  ///< key in the repository
  std::string what;
};

/// A frame that cannot be read from where its pack says that it lies.
struct DamagedFrame {
  FrameDigest frame;
  FrameLocation location;
  std::string what;
  bool stands_on_damage = false;  ///< its own bytes may be right; what it stands on is damaged
};

struct VerifyReport {
  std::vector<VerifyFinding> damage;         ///< sorted by file
  std::vector<DamagedFrame> damaged_frames;  ///< in packs whose tables can be read; sorted by place
  std::vector<PackDigest> damaged_packs;     ///< whose tables cannot be read; sorted
  std::uint64_t references = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t packs = 0;
  std::uint64_t frames = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes_read = 0;          ///< of frames
  std::uint64_t unreferenced_packs = 0;  ///< in no index: left by an ingest that was killed; no damage
};

/// Throws Error only where it cannot begin: no repository, a later version, an unknown reference, a store
/// that fails.
[[nodiscard]] VerifyReport verify(const std::shared_ptr<Store>& store, const VerifyOptions& options,
                                  Progress& progress);

/// All packs in the store, sorted.
[[nodiscard]] std::vector<PackDigest> list_packs(Store& store);

}  // namespace vmpack
