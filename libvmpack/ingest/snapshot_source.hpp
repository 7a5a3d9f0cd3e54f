// SPDX-License-Identifier: Apache-2.0
// A snapshot as an image to be read: for inspection, comparison, and whatever else takes a source.
#pragma once

#include <memory>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Its format is "snapshot", its location the digest; no other process can attach to it. What its block map
/// has no frame for is no data. Throws what ImageReader::open() throws; reading throws what its read() does.
[[nodiscard]] std::unique_ptr<Source> open_snapshot_source(std::shared_ptr<const Repository> repository,
                                                           const SnapshotDigest& snapshot,
                                                           std::shared_ptr<FrameCache> cache);

}  // namespace vmpack
