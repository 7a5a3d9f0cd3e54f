// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/packer.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/partition/policy.hpp"
#include "libvmpack/repo/object_index_merge.hpp"

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
/// While others are at work a pack is finished when it has been open for this long.
constexpr std::chrono::seconds kPackOpenMax{5};
/// Others are waited for until nothing of what they claim was stored for this long.
constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::milliseconds kAskPause{200};

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

Packer::Packer(const Repository& repository, ObjectIndex& index, OlderSnapshot* older, int level,
               WriterClaims* claims)
    : repository_(repository), index_(index), older_(older), level_(level), claims_(claims) {}

std::optional<Packer::Spot> Packer::find_stored(const ObjectDigest& digest) {
  if (const auto found = spots_.find(digest); found != spots_.end()) return found->second;
  const auto location = index_.find(digest);
  if (!location) return std::nullopt;
  return add_stored(digest, *location);
}

Packer::Spot Packer::add_stored(const ObjectDigest& digest, const ObjectLocation& location) {
  const auto [entry, is_new] =
      stored_frames_.try_emplace(location.frame, static_cast<std::uint32_t>(frames_.size()));
  if (is_new) frames_.push_back({location.frame, location.location, location.bases});
  return spots_.emplace(digest, Spot{entry->second, location.offset}).first->second;
}

/// Gives spots to those objects of the window that the index knows.
void Packer::find_stored(const Window& window) {
  std::vector<ObjectDigest> unknown;
  for (const CutObject& object : window.objects) {
    if (!object.zero && !spots_.contains(object.digest)) unknown.push_back(object.digest);
  }
  const auto locations = index_.find(unknown);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    if (locations[i]) add_stored(unknown[i], *locations[i]);
  }
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

/// Which objects are not stored, and which parts are left to others; tells those what is not left to them.
Packer::Lookup Packer::look_up(const Window& window, bool may_put_off) {
  const std::uint64_t number = windows_planned_++;
  const bool others = claims_ != nullptr && claims_->look();
  others_at_work_ = others;
  if (others) {
    claims_->take_back(windows_published_);
    index_.refresh();  // after the claims: they are taken back when the index has what they were for
  }
  find_stored(window);
  Lookup lookup{{}, std::vector<bool>(window.parts.size())};
  for (std::uint32_t i = 0; i < window.objects.size(); ++i) {
    const CutObject& object = window.objects[i];
    if (object.zero || spots_.contains(object.digest)) continue;
    lookup.unstored.push_back(i);
    if (others && may_put_off && claims_->is_claimed(object.digest)) lookup.put_off[object.part] = true;
  }
  if (claims_ == nullptr) return lookup;
  std::vector<ObjectDigest> ours;
  for (const std::uint32_t i : lookup.unstored) {
    if (!lookup.put_off[window.objects[i].part]) ours.push_back(window.objects[i].digest);
  }
  claims_->claim(number, ours);
  if (!others || !may_put_off) return lookup;
  // Somebody may have claimed the same at the same moment: one of the two gives way.
  claims_->look();
  for (const std::uint32_t i : lookup.unstored) {
    const CutObject& object = window.objects[i];
    if (claims_->is_claimed_before_ours(object.digest)) lookup.put_off[object.part] = true;
  }
  put_off(window, lookup);
  return lookup;
}

void Packer::put_off(const Window& window, const Lookup& lookup) {
  for (std::size_t part = 0; part < window.parts.size(); ++part) {
    if (lookup.put_off[part]) put_off_.push_back(window.parts[part]);
  }
  for (const std::uint32_t i : lookup.unstored) {
    if (lookup.put_off[window.objects[i].part]) awaited_.push_back(window.objects[i].digest);
  }
}

/// New objects of the window, equal ones once, in the order in which they meet in frames.
std::vector<Packer::FreshObject> Packer::find_fresh(const Window& window,
                                                    std::span<const std::uint64_t> order,
                                                    const Lookup& lookup) {
  std::vector<FreshObject> fresh;
  for (const std::uint32_t i : lookup.unstored) {
    const CutObject& object = window.objects[i];
    if (lookup.put_off[object.part]) continue;
    // Its spot is set when it has a frame.
    if (!spots_.emplace(object.digest, Spot{}).second) continue;
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

std::vector<FramePlan> Packer::plan(const Window& window, std::span<const std::uint64_t> order,
                                    bool may_put_off) {
  const Lookup lookup = look_up(window, may_put_off);
  std::vector<FreshObject> fresh = find_fresh(window, order, lookup);
  std::vector<FramePlan> frames;
  add_delta_frames(window, fresh, frames);
  add_frames(window, fresh, frames);

  for (std::size_t i = 0; i < window.objects.size(); ++i) {
    const CutObject& object = window.objects[i];
    if (lookup.put_off[object.part]) continue;
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
  ++windows_stored_;
  if (others_at_work_) share_with_others();
}

/// What others wait for must not lie in an unfinished pack for long.
void Packer::share_with_others() {
  if (pack_ != nullptr && std::chrono::steady_clock::now() - pack_begun_ > kPackOpenMax) finish_pack();
  if (finished_.valid() && finished_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    wait_for_pack();
  }
  publish();
}

/// Writes an index of what is in finished packs and in no index yet.
void Packer::publish() {
  if (!new_index_.empty()) {
    published_.push_back(index_key(new_index_.write(repository_.store())));
    new_index_ = {};
  }
  windows_published_ = windows_finished_;
}

std::vector<Part> Packer::take_put_off() {
  wait_for_others();
  return std::exchange(put_off_, {});
}

void Packer::wait_for_others() {
  if (pack_ != nullptr) finish_pack();
  wait_for_pack();
  publish();
  using Clock = std::chrono::steady_clock;
  auto give_up = Clock::now() + kPatience;
  while (true) {
    const bool others = claims_->look();
    claims_->take_back(windows_published_);
    index_.refresh();
    const std::size_t stored =
        std::erase_if(awaited_, [&](const ObjectDigest& object) { return index_.find(object).has_value(); });
    if (stored > 0) give_up = Clock::now() + kPatience;
    const bool claimed = std::ranges::any_of(
        awaited_, [&](const ObjectDigest& object) { return claims_->is_claimed(object); });
    if (!others || !claimed || Clock::now() > give_up) break;
    std::this_thread::sleep_for(kAskPause);
  }
  awaited_.clear();
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
  if (pack_ == nullptr) {
    pack_ = std::make_unique<PackBuilder>(repository_.store());
    pack_begun_ = std::chrono::steady_clock::now();
  }
  const std::uint64_t offset = pack_->add(std::move(frame.encoded), frame.records);
  pending_.push_back({made_.size() - 1, offset, stored_bytes, std::move(frame.records)});
  if (pack_->bytes() >= repository_.parameters().pack_bytes_target) finish_pack();
}

/// Making a pack durable takes a while: the next one is built meanwhile.
void Packer::finish_pack() {
  wait_for_pack();
  finished_ = std::async(std::launch::async, [pack = std::move(pack_), frames = std::move(pending_),
                                              windows = windows_stored_]() mutable {
    const PackDigest digest = pack->finish();
    return FinishedPack{digest, pack->is_own(), windows, std::move(frames)};
  });
  pending_.clear();
}

void Packer::wait_for_pack() {
  if (!finished_.valid()) return;
  const FinishedPack finished = finished_.get();
  ++statistics_.packs_new;
  if (finished.is_own) own_packs_.insert(finished.digest);
  windows_finished_ = finished.windows;
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
  if (published_.empty()) {
    if (!new_index_.empty()) new_index_.write(repository_.store());
    return;
  }
  publish();
  unite_published();
}

/// One index file in the place of those that were written for others to see early.
void Packer::unite_published() {
  Store& store = repository_.store();
  const auto stays = [](const FrameDigest&, const FrameLocation& location) {
    return std::optional(location);
  };
  try {
    const std::vector<Digest> united = merge_index_files(store, published_, stays);
    for (const std::string& key : published_) {
      if (std::ranges::find(united, key, index_key) == united.end()) store.remove(key);
    }
  } catch (const Error& error) {
    // gc has united some of them with others already: then the rest may stay as they are.
    if (error.code() != ErrorCode::kNotFound) throw;
  }
  published_.clear();
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

std::vector<ReliedPack> Packer::relied_on() const {
  std::map<PackDigest, std::uint64_t> ends;
  for (const FramePlace& place : places()) {
    const FrameLocation& location = place.location;
    if (own_packs_.contains(location.pack)) continue;
    std::uint64_t& end = ends[location.pack];
    end = std::max(end, location.offset + location.stored_bytes);
  }
  std::vector<ReliedPack> packs;
  packs.reserve(ends.size());
  for (const auto& [pack, end] : ends) packs.push_back({pack, end});
  return packs;
}

}  // namespace vmpack
