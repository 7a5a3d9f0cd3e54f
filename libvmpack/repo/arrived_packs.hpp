// SPDX-License-Identifier: Apache-2.0
// Brings packs that were moved here into the object index, some at a time: what is in it need not move again.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Not for use by two threads at once.
class ArrivedPacks {
 public:
  /// `place_of_base` says where a frame lies that others stand on; nullopt while it has not arrived.
  /// `store` must outlive this.
  ArrivedPacks(Store& store,
               std::function<std::optional<FrameLocation>(const FrameDigest& base)> place_of_base);

  /// From time to time writes an index file of what was added.
  void add(MovedPack pack);

  /// Writes one of all whose bases are there; durable on return.
  void write_index();

 private:
  Store& store_;
  std::function<std::optional<FrameLocation>(const FrameDigest&)> place_of_base_;
  std::vector<MovedPack> waiting_;
  std::uint64_t waiting_bytes_ = 0;
};

}  // namespace vmpack
