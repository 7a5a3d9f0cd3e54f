// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/frame_remake.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

/// That ingests use: their default, that of map nodes, then the rest.
constexpr std::array kLevelsToTry = {2, 6, 1, 4, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};

}  // namespace

FrameRemake::FrameRemake(Store& store, std::span<const std::string> index_keys,
                         std::function<bool(const FrameLocation&)> is_bad, BaseReader read_base)
    : store_(store), is_bad_(std::move(is_bad)), read_base_(std::move(read_base)) {
  for (const std::string& key : index_keys) index_.push_back(ObjectIndexFile::open(store, key));
}

std::optional<EncodedFrame> FrameRemake::encode(const DescribedFrame& lost) const {
  try {
    const auto raw = gather_objects(lost);
    if (!raw) return std::nullopt;
    std::vector<FrameBase> bases;
    for (const FrameDigest& base : lost.frame.bases) bases.push_back({base, read_base_(base)});
    if (bases.size() > kDeltaBasesMax) return std::nullopt;
    for (const int level : kLevelsToTry) {
      EncodedFrame frame =
          bases.empty()
              ? encode_frame(lost.frame.object_class, lost.frame.object_count, *raw, level)
              : encode_delta_frame(lost.frame.object_class, lost.frame.object_count, *raw, level, bases);
      if (frame.digest == lost.frame.digest) return frame;
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kIo) throw;
  }
  return std::nullopt;
}

std::optional<Bytes> FrameRemake::gather_objects(const DescribedFrame& lost) const {
  Bytes raw(lost.frame.raw_bytes);
  std::unordered_map<FrameDigest, FramePtr, DigestHash> frames;
  std::uint64_t at = 0;
  for (const ObjectRecord& object : lost.objects) {
    const auto place = find_object(object.digest);
    if (!place) return std::nullopt;
    FramePtr& frame = frames[place->frame];
    if (!frame) {
      frame = read_frame(store_, place->frame, place->location, read_base_);
    }
    if (std::uint64_t{place->offset} + object.bytes > frame->bytes.size()) return std::nullopt;
    std::copy_n(frame->bytes.begin() + place->offset, object.bytes,
                raw.begin() + static_cast<std::ptrdiff_t>(at));
    at = next_object_offset(at, object.bytes);
  }
  return raw;
}

std::optional<ObjectLocation> FrameRemake::find_object(const ObjectDigest& object) const {
  for (const auto& file : index_) {
    const auto place = file->find(object);
    if (place && !is_bad_(place->location)) return place;
  }
  return std::nullopt;
}

}  // namespace vmpack
