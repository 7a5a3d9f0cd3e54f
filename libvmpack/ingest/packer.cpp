// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/packer.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/partition/policy.hpp"

namespace vmpack {
namespace {

/// Less than this is smaller in a frame with its likes than in one of its own.
constexpr std::uint64_t kDeltaFrameBytesMin = 8 * kKiB;
/// Delta frames are few, and gain most from a higher level.
constexpr int kDeltaLevelMin = 4;
/// Nodes of maps and pages of file tables are few too.
constexpr int kNodeLevelMin = 6;
/// A delta frame must take at most this many hundredths of what the same frame takes on its own, or it is not
/// worth the reads of its bases.
constexpr std::size_t kDeltaPercentMax = 85;

/// Adds what is missing to `frames`, unless that makes too many.
bool join(std::vector<FrameDigest>& frames, std::span<const FrameDigest> more) {
  std::vector<FrameDigest> joined = frames;
  for (const FrameDigest& frame : more) {
    if (std::ranges::find(joined, frame) == joined.end()) joined.push_back(frame);
  }
  if (joined.size() > kDeltaBasesMax) return false;
  frames = std::move(joined);
  return true;
}

}  // namespace

Packer::Packer(const Repository& repository, const ObjectIndex& index, OlderSnapshot* older, int level)
    : repository_(repository), index_(index), older_(older), level_(level) {}

std::optional<Packer::Spot> Packer::find_stored(const ObjectDigest& digest) {
  if (const auto found = spots_.find(digest); found != spots_.end()) return found->second;
  const auto location = index_.find(digest);
  if (!location) return std::nullopt;
  const auto [entry, is_new] =
      stored_frames_.try_emplace(location->frame, static_cast<std::uint32_t>(frames_.size()));
  if (is_new) frames_.push_back({location->frame, location->location, location->bases});
  return spots_.emplace(digest, Spot{entry->second, location->offset}).first->second;
}

std::uint32_t Packer::new_frame() {
  frames_.emplace_back();
  return static_cast<std::uint32_t>(frames_.size() - 1);
}

/// Maps an object's sectors, which may lie in several ranges of its part, to its spot.
void Packer::add_segments(const Window& window, const CutObject& object, Spot spot) {
  for_each_range(window, object, [&](const ByteRange& range) {
    segments_.push_back({range.offset, range.length, spot.frame, spot.offset});
    spot.offset += static_cast<std::uint32_t>(range.length);
  });
}

/// New objects of the window, equal ones once, in the order in which they meet in frames.
std::vector<Packer::FreshObject> Packer::find_fresh(const Window& window,
                                                    std::span<const std::uint64_t> order) {
  std::vector<FreshObject> fresh;
  for (std::uint32_t i = 0; i < window.objects.size(); ++i) {
    const CutObject& object = window.objects[i];
    if (object.zero || find_stored(object.digest)) continue;
    spots_.emplace(object.digest, Spot{});  // its spot is set when it has a frame
    fresh.push_back({i, order[object.part], {}});
    if (older_ != nullptr && !object.slack) {
      fresh.back().older = older_->frames_of(window.parts[object.part], object.part_offset, object.bytes);
    }
  }
  std::ranges::stable_sort(fresh, {}, &FreshObject::rank);
  return fresh;
}

void Packer::add_object(const Window& window, std::uint32_t number, FramePlan& frame) {
  const CutObject& object = window.objects[number];
  const std::uint64_t offset = frame.raw_bytes;
  spots_[object.digest] = {frame.number, static_cast<std::uint32_t>(offset)};
  frame.objects.push_back(number);
  frame.records.push_back({object.digest, object.bytes});
  frame.raw_bytes = next_object_offset(offset, object.bytes);
  ++statistics_.objects_new;
  statistics_.bytes_new += object.bytes;
}

/// Takes objects that have older versions out of `fresh` and groups them by the frames that hold those. What
/// would make too small a frame stays in `fresh`: beside its likes it is smaller.
void Packer::add_delta_frames(const Window& window, std::vector<FreshObject>& fresh,
                              std::vector<FramePlan>& frames) {
  struct Group {
    FramePlan frame;  // objects, older and raw_bytes alone
    std::vector<FreshObject> members;
  };
  std::unordered_map<FrameDigest, std::size_t, DigestHash> ordinals;
  std::vector<FreshObject> candidates;
  std::vector<FreshObject> rest;
  for (FreshObject& object : fresh) {
    if (!object.older.empty()) ordinals.try_emplace(object.older.front(), ordinals.size());
    (object.older.empty() ? rest : candidates).push_back(std::move(object));
  }
  const auto class_of = [&](const FreshObject& object) {
    return window.parts[window.objects[object.object].part].object_class;
  };
  std::ranges::stable_sort(candidates, {}, [&](const FreshObject& object) {
    return std::pair(class_of(object), ordinals.at(object.older.front()));
  });
  std::vector<Group> groups;
  for (FreshObject& object : candidates) {
    const std::uint64_t bytes = window.objects[object.object].bytes;
    const bool fits = !groups.empty() && groups.back().frame.object_class == class_of(object) &&
                      groups.back().frame.raw_bytes + bytes <= repository_.parameters().frame_bytes_target;
    if (!fits || !join(groups.back().frame.older, object.older)) {
      groups.emplace_back();
      groups.back().frame.object_class = class_of(object);
      groups.back().frame.older = object.older;
    }
    groups.back().frame.raw_bytes = next_object_offset(groups.back().frame.raw_bytes, bytes);
    groups.back().members.push_back(std::move(object));
  }
  for (Group& group : groups) {
    if (group.frame.raw_bytes < kDeltaFrameBytesMin) {
      std::ranges::move(group.members, std::back_inserter(rest));
      continue;
    }
    frames.push_back({new_frame(), group.frame.object_class, {}, {}, std::move(group.frame.older), 0, {}});
    for (const FreshObject& object : group.members) add_object(window, object.object, frames.back());
  }
  std::ranges::stable_sort(rest, {}, &FreshObject::rank);
  fresh = std::move(rest);
}

void Packer::add_frames(const Window& window, std::span<const FreshObject> fresh,
                        std::vector<FramePlan>& frames) {
  FramePlan* frame = nullptr;
  for (const FreshObject& object : fresh) {
    const CutObject& cut = window.objects[object.object];
    const ObjectClass object_class = window.parts[cut.part].object_class;
    const std::uint64_t frame_bytes = std::min<std::uint64_t>(
        repository_.parameters().frame_bytes_target * std::uint64_t{policy_of(object_class).frame_factor},
        limits::kFrameRawBytesMax / 2);
    const bool fits = frame != nullptr && frame->object_class == object_class &&
                      frame->raw_bytes + cut.bytes <= frame_bytes;
    if (!fits) {
      frames.push_back({new_frame(), object_class, {}, {}, {}, 0, {}});
      frame = &frames.back();
    }
    add_object(window, object.object, *frame);
  }
}

std::vector<FramePlan> Packer::plan(const Window& window, std::span<const std::uint64_t> order) {
  std::vector<FreshObject> fresh = find_fresh(window, order);
  std::vector<FramePlan> frames;
  add_delta_frames(window, fresh, frames);
  add_frames(window, fresh, frames);

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

void Packer::encode_frame_plan(const Window& window, FramePlan& frame) const {
  static thread_local Bytes raw;
  raw.clear();
  for (const std::uint32_t number : frame.objects) {
    append(raw, window.object_bytes(window.objects[number]));
    raw.resize(round_up(raw.size(), kObjectAlignment));
  }
  const auto count = static_cast<std::uint32_t>(frame.objects.size());
  const int level = std::min(level_, policy_of(frame.object_class).level_max);
  frame.encoded = encode_frame(frame.object_class, count, raw, level);
  if (frame.older.empty()) return;
  const std::vector<FrameBase> bases = older_->bases(frame.older);
  if (bases.empty()) return;
  EncodedFrame delta =
      encode_delta_frame(frame.object_class, count, raw, std::max(level, kDeltaLevelMin), bases);
  if (delta.stored.size() < frame.encoded.stored.size() / 100 * kDeltaPercentMax) {
    frame.encoded = std::move(delta);
  }
}

void Packer::encode(const Window& window, std::vector<FramePlan>& frames) const {
  tbb::parallel_for(std::size_t{0}, frames.size(),
                    [&](std::size_t i) { encode_frame_plan(window, frames[i]); });
}

void Packer::store(std::vector<FramePlan> frames) {
  for (FramePlan& frame : frames) add_to_pack(std::move(frame));
}

void Packer::add_to_pack(FramePlan frame) {
  const FrameDigest digest = frame.encoded.digest;
  const auto stored_bytes = static_cast<std::uint32_t>(frame.encoded.stored.size());
  std::vector<FramePlace> bases;
  bases.reserve(frame.encoded.bases.size());
  for (const FrameDigest& base : frame.encoded.bases) bases.push_back({base, older_->place(base)});
  made_.push_back({frame.number, {digest, {}, std::move(bases)}});
  ++statistics_.frames_new;
  statistics_.stored_bytes += stored_bytes;
  statistics_.stored_by_class[static_cast<std::size_t>(frame.object_class)] += stored_bytes;
  if (pack_ == nullptr) pack_ = std::make_unique<PackBuilder>(repository_.store());
  const std::uint64_t offset = pack_->add(std::move(frame.encoded), frame.records);
  pending_.push_back({made_.size() - 1, offset, stored_bytes, std::move(frame.records)});
  if (pack_->bytes() >= repository_.parameters().pack_bytes_target) finish_pack();
}

/// Making a pack durable takes a while: the next one is built meanwhile.
void Packer::finish_pack() {
  wait_for_pack();
  finished_ =
      std::async(std::launch::async, [pack = std::move(pack_), frames = std::move(pending_)]() mutable {
        return FinishedPack{pack->finish(), std::move(frames)};
      });
  pending_.clear();
}

void Packer::wait_for_pack() {
  if (!finished_.valid()) return;
  const FinishedPack finished = finished_.get();
  ++statistics_.packs_new;
  new_index_.add_pack(finished.digest);
  for (const PendingFrame& frame : finished.frames) {
    Frame& made = made_[frame.made].frame;
    made.location = {finished.digest, frame.offset, frame.stored_bytes};
    new_index_.add_frame(made.digest, frame.offset, frame.stored_bytes, frame.objects, made.bases);
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
  FramePlan frame{new_frame(), object_class, {}, {{digest, static_cast<std::uint32_t>(bytes.size())}}, {}, 0,
                  {}};
  const std::uint32_t number = frame.number;
  bytes.resize(round_up(bytes.size(), kObjectAlignment));
  frame.encoded = encode_frame(object_class, 1, bytes, std::max(level_, kNodeLevelMin));
  spots_.insert_or_assign(digest, Spot{number, 0});
  frames_[number].digest = frame.encoded.digest;
  add_to_pack(std::move(frame));
  return frames_[number].digest;
}

void Packer::finish() {
  if (pack_ != nullptr) finish_pack();
  wait_for_pack();
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
  for (const Frame& frame : frames_) places.push_back({.frame = frame.digest, .location = frame.location});
  for (const MadeFrame& made : made_) {
    places[made.number] = {.frame = made.frame.digest, .location = made.frame.location};
  }
  const auto add_bases = [&](const Frame& frame) {
    for (const FramePlace& base : frame.bases) places.push_back({base.frame, base.location, true});
  };
  std::ranges::for_each(frames_, add_bases);
  std::ranges::for_each(made_, add_bases, &MadeFrame::frame);
  return places;
}

}  // namespace vmpack
