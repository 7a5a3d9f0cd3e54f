// SPDX-License-Identifier: Apache-2.0
// Which frames a snapshot stands on.
#pragma once

#include <functional>

#include "libvmpack/repo/repository.hpp"

namespace vmpack {

struct FrameVisitor {
  /// A directory or page of the block map; false leaves out what lies below it.
  std::function<bool(const FrameDigest& node)> enter;
  /// A frame that is named by a page, or holds a page of the file table.
  std::function<void(const FrameDigest& frame)> see;
};

/// Calls for all frames that the snapshot names, in the order in which the image has them, nodes of the map
/// before what lies below them; for most of them several times. What delta frames stand on is not among them.
/// Only the snapshot's manifest need not be in the store yet. Throws kNotFound, kDamaged, kUnsupported,
/// kLimit.
void walk_frames(const Repository& repository, const SnapshotDigest& snapshot, const Manifest& manifest,
                 const FrameVisitor& visitor);

}  // namespace vmpack
