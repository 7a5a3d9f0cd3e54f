// SPDX-License-Identifier: Apache-2.0
// Writes files of the object index. Format: formats/object_index.md.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// What an index file is to hold. Its objects are not kept here: there may be many millions.
struct IndexContents {
  struct Frame {
    FrameDigest digest;
    std::uint64_t offset = 0;
    std::uint32_t stored_bytes = 0;
    std::uint32_t pack = 0;  ///< in packs
  };
  struct Base {
    std::uint32_t frame = 0;  ///< the delta frame, in frames
    FramePlace place;
  };
  std::vector<PackDigest> packs;
  std::vector<Frame> frames;
  std::vector<Base> bases;  ///< sorted by frame
};

/// Calls for each object, in order of digest and no digest twice; the same at every call.
using EachObject = std::function<void(const std::function<void(const IndexedObject&)>& visit)>;

/// Writes an index file of `object_count` objects, durable on return; goes through them twice. Memory: what
/// `contents` takes once more, and two bytes for each object. Returns the file's digest.
Digest write_index_file(Store& store, const IndexContents& contents, std::uint64_t object_count,
                        const EachObject& each_object);

/// Collects what an ingest adds. Not for use by two threads at once.
class ObjectIndexBuilder {
 public:
  /// Frames of a pack that was written, in their order, with the objects in each.
  void add_pack(const PackDigest& pack);
  /// A frame of the pack added last, and what it stands on.
  void add_frame(const FrameDigest& frame, std::uint64_t offset, std::uint32_t stored_bytes,
                 std::span<const ObjectRecord> objects, std::span<const FramePlace> bases);
  [[nodiscard]] bool empty() const { return objects_.empty(); }
  [[nodiscard]] std::size_t object_count() const { return objects_.size(); }

  /// Writes the index file, durable on return. Returns its digest.
  Digest write(Store& store);

 private:
  IndexContents contents_;
  std::vector<IndexedObject> objects_;
};

}  // namespace vmpack
