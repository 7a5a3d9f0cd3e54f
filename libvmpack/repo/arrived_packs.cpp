// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/arrived_packs.hpp"

#include <algorithm>

#include "libvmpack/base/units.hpp"
#include "libvmpack/repo/object_index_writer.hpp"

namespace vmpack {
namespace {

/// After this much in packs they are indexed: what a killed copy moves again at most, and few enough files.
constexpr std::uint64_t kIndexedBytes = 256 * kMiB;

}  // namespace

ArrivedPacks::ArrivedPacks(Store& store,
                           std::function<std::optional<FrameLocation>(const FrameDigest& base)> place_of_base)
    : store_(store), place_of_base_(std::move(place_of_base)) {}

void ArrivedPacks::add(MovedPack pack) {
  for (const MovedFrame& frame : pack.frames) waiting_bytes_ += frame.stored_bytes;
  waiting_.push_back(std::move(pack));
  if (waiting_bytes_ >= kIndexedBytes) write_index();
}

void ArrivedPacks::write_index() {
  ObjectIndexBuilder index;
  std::erase_if(waiting_, [&](const MovedPack& pack) {
    std::vector<std::vector<FramePlace>> bases;
    for (const MovedFrame& frame : pack.frames) {
      bases.emplace_back();
      for (const FrameDigest& base : frame.bases) {
        const auto place = place_of_base_(base);
        if (!place) return false;
        bases.back().push_back({base, *place, true});
      }
    }
    index.add_pack(pack.pack);
    for (std::size_t i = 0; i < pack.frames.size(); ++i) {
      const MovedFrame& frame = pack.frames[i];
      index.add_frame(frame.digest, frame.offset, frame.stored_bytes, frame.objects, bases[i]);
    }
    return true;
  });
  waiting_bytes_ = 0;
  if (!index.empty()) index.write(store_);
}

}  // namespace vmpack
