// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/packer.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

/// Archives, and what is left of them in free space, hardly get smaller: a higher level only takes longer.
int level_max(ObjectClass object_class) {
  switch (object_class) {
    case ObjectClass::kCompressed:
    case ObjectClass::kFree:
    case ObjectClass::kSwap:
      return 1;
    default:
      return 19;
  }
}

}  // namespace

Packer::Packer(const Repository& repository, const ObjectIndex& index, int level)
    : repository_(repository), index_(index), level_(level), pack_(std::make_unique<PackBuilder>()) {}

std::optional<Packer::Spot> Packer::find_stored(const ObjectDigest& digest) {
  if (const auto found = spots_.find(digest); found != spots_.end()) return found->second;
  const auto location = index_.find(digest);
  if (!location) return std::nullopt;
  const auto [entry, is_new] =
      stored_frames_.try_emplace(location->frame, static_cast<std::uint32_t>(frames_.size()));
  if (is_new) frames_.push_back({location->frame, location->location});
  return spots_.emplace(digest, Spot{entry->second, location->offset}).first->second;
}

std::uint32_t Packer::new_frame() {
  frames_.emplace_back();
  return static_cast<std::uint32_t>(frames_.size() - 1);
}

/// Maps an object's sectors, which may lie in several ranges of its part, to its spot.
void Packer::add_segments(const Window& window, const CutObject& object, Spot spot) {
  std::uint64_t skip = object.part_offset;
  std::uint64_t left = round_up(object.bytes, kSectorBytes);
  std::uint32_t offset = spot.offset;
  for (const ByteRange& range : window.parts[object.part].ranges) {
    if (skip >= range.length) {
      skip -= range.length;
      continue;
    }
    const std::uint64_t length = std::min(left, range.length - skip);
    segments_.push_back({range.offset + skip, length, spot.frame, offset});
    offset += static_cast<std::uint32_t>(length);
    left -= length;
    skip = 0;
    if (left == 0) break;
  }
  VMPACK_ASSERT(left == 0);
}

std::vector<FramePlan> Packer::plan(const Window& window, std::span<const std::uint64_t> order) {
  // Which objects are new; equal ones within the window count once.
  std::vector<std::uint32_t> fresh;
  for (std::uint32_t i = 0; i < window.objects.size(); ++i) {
    const CutObject& object = window.objects[i];
    if (object.zero || find_stored(object.digest)) continue;
    spots_.emplace(object.digest, Spot{});  // its spot is set below
    fresh.push_back(i);
  }
  std::ranges::stable_sort(fresh, {}, [&](std::uint32_t i) { return order[window.objects[i].part]; });

  std::vector<FramePlan> frames;
  std::uint64_t raw_bytes = 0;
  for (const std::uint32_t i : fresh) {
    const CutObject& object = window.objects[i];
    const ObjectClass object_class = window.parts[object.part].object_class;
    const bool fits = !frames.empty() && frames.back().object_class == object_class &&
                      raw_bytes + object.bytes <= repository_.parameters().frame_bytes_target;
    if (!fits) {
      frames.push_back({new_frame(), object_class, {}, {}, {}});
      raw_bytes = 0;
    }
    spots_[object.digest] = {frames.back().number, static_cast<std::uint32_t>(raw_bytes)};
    frames.back().objects.push_back(i);
    frames.back().records.push_back({object.digest, object.bytes});
    raw_bytes = next_object_offset(raw_bytes, object.bytes);
    ++statistics_.objects_new;
    statistics_.bytes_new += object.bytes;
  }

  for (std::size_t i = 0; i < window.objects.size(); ++i) {
    const CutObject& object = window.objects[i];
    const bool overridden = i + 1 < window.objects.size() && window.objects[i + 1].slack;
    if (!overridden) {
      if (!object.zero) add_segments(window, object, spots_.at(object.digest));
      continue;
    }
    // The next object holds this one's last sector as the disk has it.
    CutObject body = object;
    body.bytes = static_cast<std::uint32_t>(round_down(object.bytes, kSectorBytes));
    if (body.bytes > 0 && !object.zero) add_segments(window, body, spots_.at(object.digest));
  }
  return frames;
}

void Packer::encode(const Window& window, std::vector<FramePlan>& frames) const {
  tbb::parallel_for(std::size_t{0}, frames.size(), [&](std::size_t i) {
    FramePlan& frame = frames[i];
    static thread_local Bytes raw;
    raw.clear();
    for (const std::uint32_t number : frame.objects) {
      append(raw, window.object_bytes(window.objects[number]));
      raw.resize(round_up(raw.size(), kObjectAlignment));
    }
    frame.encoded = encode_frame(frame.object_class, static_cast<std::uint32_t>(frame.objects.size()), raw,
                                 std::min(level_, level_max(frame.object_class)));
  });
}

void Packer::store(std::vector<FramePlan> frames) {
  for (FramePlan& frame : frames) add_to_pack(std::move(frame));
}

void Packer::add_to_pack(FramePlan frame) {
  const FrameDigest digest = frame.encoded.digest;
  const auto stored_bytes = static_cast<std::uint32_t>(frame.encoded.stored.size());
  made_.push_back({frame.number, {digest, {}}});
  ++statistics_.frames_new;
  statistics_.stored_bytes += stored_bytes;
  statistics_.stored_by_class[static_cast<std::size_t>(frame.object_class)] += stored_bytes;
  const std::uint64_t offset = pack_->add(std::move(frame.encoded), frame.records);
  pending_.push_back({made_.size() - 1, offset, stored_bytes, std::move(frame.records)});
  if (pack_->bytes() >= repository_.parameters().pack_bytes_target) start_write();
}

void Packer::start_write() {
  wait_for_write();
  write_ = std::async(std::launch::async, [&store = repository_.store(), pack = std::move(pack_),
                                           frames = std::move(pending_)]() mutable {
    return WrittenPack{pack->write(store), std::move(frames)};
  });
  pack_ = std::make_unique<PackBuilder>();
  pending_.clear();
}

void Packer::wait_for_write() {
  if (!write_.valid()) return;
  const WrittenPack written = write_.get();
  ++statistics_.packs_new;
  new_index_.add_pack(written.digest);
  for (const PendingFrame& frame : written.frames) {
    Frame& made = made_[frame.made].frame;
    made.location = {written.digest, frame.offset, frame.stored_bytes};
    new_index_.add_frame(made.digest, frame.offset, frame.stored_bytes, frame.objects);
  }
}

FrameDigest Packer::store_single(ObjectClass object_class, Bytes bytes) {
  const ObjectDigest digest(sha256(bytes));
  // At another offset it is an image's own bytes that happen to look like a node: no use to a reader of
  // nodes.
  if (const auto spot = find_stored(digest); spot && spot->offset == 0) {
    const FrameDigest found = frames_[spot->frame].digest;
    if (found != FrameDigest{}) return found;
  }
  FramePlan frame{new_frame(), object_class, {}, {{digest, static_cast<std::uint32_t>(bytes.size())}}, {}};
  const std::uint32_t number = frame.number;
  bytes.resize(round_up(bytes.size(), kObjectAlignment));
  frame.encoded = encode_frame(object_class, 1, bytes, level_);
  spots_.insert_or_assign(digest, Spot{number, 0});
  frames_[number].digest = frame.encoded.digest;
  add_to_pack(std::move(frame));
  return frames_[number].digest;
}

void Packer::finish() {
  if (!pack_->empty()) start_write();
  wait_for_write();
  if (!new_index_.empty()) new_index_.write(repository_.store());
}

std::vector<MapSegment> Packer::take_segments() {
  std::ranges::sort(segments_, {}, &MapSegment::disk_offset);
  return std::move(segments_);
}

std::vector<FrameDigest> Packer::frame_digests() const {
  std::vector<FrameDigest> digests;
  digests.reserve(frames_.size());
  for (const Frame& frame : frames_) digests.push_back(frame.digest);
  for (const MadeFrame& made : made_) digests[made.number] = made.frame.digest;
  return digests;
}

std::vector<FramePlace> Packer::places() const {
  std::vector<FramePlace> places;
  places.reserve(frames_.size());
  for (const Frame& frame : frames_) places.push_back({frame.digest, frame.location});
  for (const MadeFrame& made : made_) places[made.number] = {made.frame.digest, made.frame.location};
  return places;
}

}  // namespace vmpack
