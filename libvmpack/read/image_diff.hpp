// SPDX-License-Identifier: Apache-2.0
// Where two images differ.
#pragma once

#include <memory>
#include <vector>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/read/image_bytes.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

// Both find the sectors whose bytes are not the same, sorted and joined. Of images of two sizes, what lies
// behind the end of the shorter one is held against zeros.

/// Of two snapshots of one repository. Costs what differs: equal parts of the block maps are passed over by
/// digest, and frames are only read where the maps name different ones, through `cache`, on `threads`
/// threads. Throws kNotFound, kDamaged, kUnsupported.
[[nodiscard]] std::vector<ByteRange> diff_images(const std::shared_ptr<const Repository>& repository,
                                                 const SnapshotDigest& before, const SnapshotDigest& after,
                                                 const std::shared_ptr<FrameCache>& cache, unsigned threads,
                                                 Progress& progress);

/// Of any two images: reads all of both that may be something else than zeros.
[[nodiscard]] std::vector<ByteRange> diff_bytes(const ImageBytes& before, const ImageBytes& after,
                                                unsigned threads, Progress& progress);

}  // namespace vmpack
