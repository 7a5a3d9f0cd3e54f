// SPDX-License-Identifier: Apache-2.0
// What changed on top of another image, without that image: a qcow2 overlay alone, or an NBD export with a
// dirty bitmap.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libvmpack/source/source.hpp"

namespace vmpack {

struct Changes {
  std::unique_ptr<Source> source;  ///< as large as the changed disk; means something in `ranges` alone
  std::vector<ByteRange> ranges;   ///< sorted, in whole sectors, none touching another
  std::string base;  ///< what the changes are to, as the overlay names it; empty where nothing says so
};

/// Opens the qcow2 file at `path` without what it lies on, of which nothing is read: it need not be there.
/// Overlays that it lies on itself are read as well. What is discarded or zeroed in it counts as changed.
/// `backing_root` as in SourceOptions. Throws Error as open_source() does, and kInvalid for what is no
/// overlay.
[[nodiscard]] Changes open_overlay(const std::string& path, const std::string& backing_root,
                                   Progress& progress);

/// What the dirty bitmap `bitmap` of the NBD export at `uri` says. Throws Error as open_source() does, and
/// kNotFound when the export does not come with that bitmap.
[[nodiscard]] Changes open_dirty_bitmap(const std::string& uri, const std::string& bitmap);

}  // namespace vmpack
