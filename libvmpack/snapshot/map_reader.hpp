// SPDX-License-Identifier: Apache-2.0
// Fetches the nodes of one snapshot's block map from a store. Keeps nothing but root and places.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>

#include "libvmpack/base/units.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Any thread.
class MapReader {
 public:
  /// Reads the root and the header of the places. Throws kNotFound, kDamaged, kUnsupported.
  MapReader(Store& store, const SnapshotDigest& snapshot, const MapDigest& map);

  [[nodiscard]] const MapRoot& root() const { return root_; }
  [[nodiscard]] const Places& places() const { return *places_; }

  /// The directory with that number, or nullopt where all it would cover is zero.
  [[nodiscard]] std::optional<MapDirectory> directory(std::uint64_t number) const;
  /// The directory in `frame`, one of the root's children.
  [[nodiscard]] MapDirectory directory_in(const FrameDigest& frame) const;
  /// The page in `frame`, one of a directory's children.
  [[nodiscard]] MapPage page(const FrameDigest& frame) const;
  [[nodiscard]] FramePtr frame(const FrameDigest& digest, const BaseReader& read_base = {}) const {
    return read_placed_frame(*places_, digest, read_base);
  }
  /// What a delta frame stands on.
  [[nodiscard]] FramePtr base(const FrameDigest& digest) const { return read_placed_base(*places_, digest); }

  /// Calls for every page, in order, with the byte offset of its region in the image; with `within`, for
  /// those whose region lies in that part of the image or reaches into it.
  void for_each_page(const std::function<void(std::uint64_t region_start, const MapPage& page)>& each,
                     ByteRange within = {0, std::numeric_limits<std::uint64_t>::max()}) const;

 private:
  MapRoot root_;
  std::unique_ptr<Places> places_;
};

}  // namespace vmpack
