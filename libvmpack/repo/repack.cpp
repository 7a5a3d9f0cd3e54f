// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/repack.hpp"

#include <algorithm>

#include "libvmpack/repo/frame_mover.hpp"

namespace vmpack {
namespace {

/// Of a pack in hundredths; from this on it is worth leaving.
constexpr std::uint64_t kDeadPercent = 20;
/// Of all dead bytes, in hundredths: so much may be left behind.
constexpr std::uint64_t kLeftPercent = 10;
/// A pack of less than this part of the target is small; so many are merged.
constexpr std::uint64_t kSmallPart = 4;
constexpr std::size_t kSmallPacksMin = 4;

struct OrderedFrame {
  std::uint64_t order;
  FrameToMove frame;
};

}  // namespace

std::vector<const PackInUse*> packs_to_leave(const LiveFrames& live, std::uint64_t pack_bytes_target) {
  struct Candidate {
    const PackInUse* pack;
    std::uint64_t dead;
  };
  std::vector<Candidate> candidates;
  std::uint64_t left = 0;
  std::size_t small = 0;
  const auto is_small = [&](const PackInUse& pack) { return pack.bytes < pack_bytes_target / kSmallPart; };
  for (const PackInUse& pack : live.packs()) {
    if (pack.used_bytes == 0) continue;
    candidates.push_back({&pack, pack.unused_bytes()});
    left += candidates.back().dead;
    small += is_small(pack) ? 1U : 0U;
  }
  const std::uint64_t left_max = left * kLeftPercent / 100;
  std::ranges::stable_sort(candidates, std::greater{}, [](const Candidate& candidate) {
    return static_cast<double>(candidate.dead) /
           static_cast<double>(candidate.dead + candidate.pack->used_bytes);
  });
  std::vector<const PackInUse*> leave;
  for (const auto& [pack, dead] : candidates) {
    const bool mostly_dead = dead * 100 >= (dead + pack->used_bytes) * kDeadPercent;
    const bool too_much_left = dead > 0 && left > left_max;
    if (!mostly_dead && !too_much_left && !(small >= kSmallPacksMin && is_small(*pack))) continue;
    leave.push_back(pack);
    left -= dead;
  }
  std::ranges::sort(leave, {}, &PackInUse::digest);
  return leave;
}

std::uint32_t MovedFrames::number_of(const PackDigest& pack) {
  const auto [number, is_new] = numbers_.try_emplace(pack, static_cast<std::uint32_t>(packs_.size()));
  if (is_new) packs_.push_back(pack);
  return number->second;
}

void MovedFrames::add(const FrameLocation& from, const FrameLocation& to) {
  places_[key(number_of(from.pack), from.offset)] = {number_of(to.pack), to.offset};
}

std::optional<FrameLocation> MovedFrames::find(const FrameLocation& from) const {
  const auto number = numbers_.find(from.pack);
  if (number == numbers_.end()) return std::nullopt;
  const auto place = places_.find(key(number->second, from.offset));
  if (place == places_.end()) return std::nullopt;
  return FrameLocation{packs_[place->second.pack], place->second.offset, from.stored_bytes};
}

Repacked repack(const Repository& repository, const LiveFrames& live,
                const std::vector<const PackInUse*>& leave, Progress& progress) {
  Store& store = repository.store();
  Repacked result;
  // A frame that lies in several packs moves once.
  std::unordered_map<FrameDigest, std::vector<FrameLocation>, DigestHash> sources;
  std::vector<OrderedFrame> frames;
  for (const PackInUse* pack : leave) {
    const PackTables tables = read_pack_tables(store, pack->digest);
    for (std::size_t i = 0; i < tables.frames.size(); ++i) {
      if (!pack->frames[i].in_use) continue;
      const PackFrame& frame = tables.frames[i];
      const FrameLocation from{pack->digest, frame.offset, frame.stored_bytes};
      std::vector<FrameLocation>& known = sources[frame.digest];
      known.push_back(from);
      if (known.size() > 1) continue;
      frames.push_back({live.order(frame.digest.prefix()), {frame.digest, from}});
      result.bytes += frame.stored_bytes;
    }
  }
  std::ranges::sort(frames, {}, &OrderedFrame::order);

  const auto finished = [&](const MovedPack& pack) {
    result.packs.push_back(pack.pack);
    for (const MovedFrame& frame : pack.frames) {
      for (const FrameLocation& from : sources.at(frame.digest))
        result.moved.add(from, {pack.pack, frame.offset, frame.stored_bytes});
    }
  };
  FrameMover mover(store, store, repository.parameters().pack_bytes_target, WholePacks::kMerged, {},
                   finished);
  progress.begin("moving", result.bytes);
  const auto move = [&](auto first, auto last) {
    std::vector<FrameToMove> part;
    for (; first != last; ++first) part.push_back(first->frame);
    mover.move(part, progress);
  };
  // Nodes first: the mover takes what it is given at once pack by pack.
  const auto data = std::ranges::find_if(
      frames, [](const OrderedFrame& frame) { return !LiveFrames::is_node(frame.order); });
  move(frames.begin(), data);
  move(data, frames.end());
  mover.finish();
  progress.end();
  return result;
}

}  // namespace vmpack
