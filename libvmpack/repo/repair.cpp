// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/repair.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/repo/arrived_packs.hpp"
#include "libvmpack/repo/copy_plan.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/repo/frame_remake.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/object_index_merge.hpp"
#include "libvmpack/repo/object_index_rebuild.hpp"
#include "libvmpack/repo/repair_files.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/places_update.hpp"

namespace vmpack {
namespace {

/// A place, for ordered containers.
using Spot = std::pair<PackDigest, std::uint64_t>;
Spot spot_of(const FrameLocation& location) { return {location.pack, location.offset}; }

template <typename Each>
void for_each_indexed_frame(Store& store, std::span<const std::string> keys, Each each) {
  for (const std::string& key : keys) {
    const auto file = ObjectIndexFile::open(store, key);
    for (std::uint32_t i = 0; i < file->frame_count(); ++i) each(file->frame(i));
  }
}

class Repair {
 public:
  Repair(std::shared_ptr<Store> store, std::shared_ptr<const Repository> from, const RepairOptions& options,
         Progress& progress)
      : shared_store_(std::move(store)),
        repository_(Repository::open(shared_store_)),
        store_(*shared_store_),
        from_(std::move(from)),
        options_(options),
        progress_(progress) {
    if (!options_.dry_run) session_.emplace(*repository_);
  }

  RepairReport run() {
    found_ = check(false);
    for (const VerifyFinding& finding : found_.damage) damaged_files_.insert(finding.file);
    for (const PackDigest& pack : list_packs(store_)) packs_.insert(pack);
    mend_small_files(*repository_, from_.get(), options_.dry_run, damaged_files_, mended_);
    mend_index();
    collect_damage();
    find_here();
    fetch();
    make_again();
    move_neighbours();
    mend_places();
    rewrite_index();
    remove_packs();
    finish_report();
    return std::move(report_);
  }

 private:
  VerifyReport check(bool quick) { return verify(shared_store_, {{}, quick, options_.threads}, progress_); }

  // --- The index.

  /// Lists what damaged index files listed, by the tables of the packs that no other one lists.
  void mend_index() {
    std::unordered_set<PackDigest, DigestHash> listed;
    std::vector<std::string> damaged;
    for (const std::string& key : list_index_files(store_)) {
      if (is_readable_index(key)) {
        index_keys_.push_back(key);
        for_each_indexed_frame(store_, {&key, 1},
                               [&](const IndexedFrame& frame) { listed.insert(frame.place.location.pack); });
      } else {
        damaged.push_back(key);
      }
    }
    mended_.insert(damaged.begin(), damaged.end());
    std::vector<PackDigest> unlisted;
    for (const PackDigest& pack : packs_) {
      if (!listed.contains(pack)) unlisted.push_back(pack);
    }
    std::ranges::sort(unlisted);
    if (options_.dry_run || (damaged.empty() && !any_in_use(unlisted))) return;
    // A new one may have the name of a damaged one. Killed now, the next run finds packs in use that no index
    // lists.
    for (const std::string& key : damaged) store_.remove(key);
    for (const Digest& file : rebuild_index(store_, unlisted, progress_).files) {
      if (std::ranges::find(index_keys_, index_key(file)) == index_keys_.end())
        index_keys_.push_back(index_key(file));
    }
  }

  /// Whether some snapshot places a frame in one of `packs`, which are sorted.
  bool any_in_use(std::span<const PackDigest> packs) const {
    if (packs.empty()) return false;
    return std::ranges::any_of(repository_->snapshots(), [&](const SnapshotDigest& snapshot) {
      try {
        return std::ranges::any_of(Places::open(store_, snapshot)->packs(), [&](const PackDigest& pack) {
          return std::ranges::binary_search(packs, pack);
        });
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kIo) throw;
        return false;
      }
    });
  }

  /// One that only points into packs that are gone or damaged is none the worse itself.
  bool is_readable_index(const std::string& key) const {
    if (!damaged_files_.contains(key)) return true;
    try {
      const auto digest = digest_of_key(key);
      return digest && ObjectIndexFile::open(store_, key)->digest() == *digest;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      return false;
    }
  }

  /// Takes out what is lost, and says of the rest where it is now.
  void rewrite_index() {
    if (options_.dry_run || wanted_.empty()) return;
    const auto is_touched = [&](const FramePlace& place) { return is_bad(place.location); };
    std::vector<std::string> touched;
    for (const std::string& key : index_keys_) {
      bool touches = false;
      for_each_indexed_frame(store_, {&key, 1}, [&](const IndexedFrame& frame) {
        touches = touches || is_touched(frame.place) || moved_.contains(spot_of(frame.place.location)) ||
                  std::ranges::any_of(frame.bases, [&](const FramePlace& base) {
                    return is_touched(base) || moved_.contains(spot_of(base.location));
                  });
      });
      if (touches) touched.push_back(key);
    }
    if (touched.empty()) return;
    const std::vector<Digest> merged = merge_index_files(
        store_, touched,
        [&](const FrameDigest&, const FrameLocation& location) -> std::optional<FrameLocation> {
          if (const auto moved = moved_.find(spot_of(location)); moved != moved_.end()) return moved->second;
          if (is_bad(location)) return std::nullopt;
          return location;
        });
    for (const std::string& key : touched) {
      const auto digest = digest_of_key(key);
      if (!std::ranges::binary_search(merged, *digest)) store_.remove(key);
    }
  }

  // --- Frames.

  [[nodiscard]] bool is_gone(const PackDigest& pack) const {
    return !packs_.contains(pack) || std::ranges::binary_search(found_.damaged_packs, pack);
  }
  [[nodiscard]] bool is_bad(const FrameLocation& location) const {
    return is_gone(location.pack) || bad_.contains(spot_of(location));
  }

  /// Every frame that cannot be read, by what packs, index and places tell.
  void collect_damage() {
    for (const DamagedFrame& frame : found_.damaged_frames) {
      if (frame.stands_on_damage) continue;
      bad_.insert(spot_of(frame.location));
      want(frame.frame.prefix(), frame.location);
    }
    for_each_indexed_frame(store_, index_keys_, [&](const IndexedFrame& frame) {
      if (is_gone(frame.place.location.pack)) want(frame.place.frame.prefix(), frame.place.location);
    });
    for (const SnapshotDigest& snapshot : repository_->snapshots()) {
      try {
        Places::open(store_, snapshot)->for_each([&](std::uint64_t prefix, const FrameLocation& location) {
          if (is_gone(location.pack)) want(prefix, location);
        });
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kIo) throw;
        broken_places_.push_back(snapshot);
      }
    }
    report_.damaged_frames = wanted_.size();
  }

  void want(std::uint64_t prefix, const FrameLocation& location) {
    const bool is_new = wanted_.emplace(spot_of(location), FrameToFind{prefix, location.stored_bytes}).second;
    if (is_new) spots_by_prefix_[prefix].push_back(spot_of(location));
  }

  /// Bad places of a frame for which none is known yet where it is instead.
  std::vector<Spot> open_spots(const FramePlace& frame) const {
    std::vector<Spot> open;
    const auto spots = spots_by_prefix_.find(frame.frame.prefix());
    if (spots == spots_by_prefix_.end()) return open;
    for (const Spot& spot : spots->second) {
      const bool fits = wanted_.at(spot).stored_bytes == frame.location.stored_bytes;
      if (fits && !moved_.contains(spot)) open.push_back(spot);
    }
    return open;
  }

  /// Notes where a frame is instead of its bad places; returns how many these are.
  std::uint64_t set_found(const FramePlace& frame) {
    const std::vector<Spot> open = open_spots(frame);
    for (const Spot& spot : open) moved_.emplace(spot, frame.location);
    return open.size();
  }

  /// Frames that somebody stored again, or had stored twice.
  void find_here() {
    for_each_indexed_frame(store_, index_keys_, [&](const IndexedFrame& frame) {
      if (is_bad(frame.place.location)) return;
      here_.emplace(frame.place.frame, frame.place.location);
      report_.found_frames += set_found(frame.place);
    });
  }

  void fetch() {
    if (!from_) return;
    std::vector<FrameToMove> frames;
    for_each_indexed_frame(from_->store(), list_index_files(from_->store()), [&](const IndexedFrame& frame) {
      for (const FramePlace& base : frame.bases) there_.emplace(base.frame, base.location);
      const bool is_new = !open_spots(frame.place).empty() && fetched_.insert(frame.place.frame).second;
      if (is_new) frames.push_back({frame.place.frame, frame.place.location});
    });
    for (const FrameToMove& frame : frames) report_.bytes_fetched += frame.from.stored_bytes;
    if (options_.dry_run) {
      for (const FrameToMove& frame : frames) report_.fetched_frames += set_found({frame.digest, frame.from});
      return;
    }
    progress_.begin("fetching", report_.bytes_fetched);
    move(from_->store(), frames,
         [&](const FramePlace& frame) { report_.fetched_frames += set_found(frame); });
    progress_.end();
  }

  /// Frames of `store` into new packs here, indexed. `arrived` is told of each.
  void move(Store& store, std::span<const FrameToMove> frames,
            const std::function<void(const FramePlace&)>& arrived) {
    ArrivedPacks packs(store_, [this](const FrameDigest& base) { return place_here(base); });
    std::vector<MovedPack> came;
    const auto move_all = [&] {
      came.clear();
      FrameMover mover(
          store, store_, repository_->parameters().pack_bytes_target, WholePacks::kKept,
          [this](const FrameDigest& base) { return read_base(base); },
          [&](MovedPack pack) { came.push_back(std::move(pack)); });
      mover.move(frames, progress_);
      mover.finish();
    };
    move_all();
    const bool again = std::ranges::any_of(came, [&](const MovedPack& pack) { return make_way(pack.pack); });
    if (again) move_all();
    for (MovedPack& pack : came) arrive(std::move(pack), packs, arrived);
    take_in(packs);
  }

  /// A pack with the name of a damaged one is not stored while that is there. Its frames are known to be at
  /// hand by now. True when the damaged one was removed.
  bool make_way(const PackDigest& pack) {
    const bool damaged = std::ranges::binary_search(found_.damaged_packs, pack) ||
                         std::ranges::any_of(bad_, [&](const Spot& spot) { return spot.first == pack; });
    if (!damaged || !replaced_packs_.insert(pack).second) return false;
    store_.remove(pack_key(pack));
    mended_.insert(pack_key(pack));
    return true;
  }

  void arrive(MovedPack pack, ArrivedPacks& packs, const std::function<void(const FramePlace&)>& arrived) {
    packs_.insert(pack.pack);
    for (const MovedFrame& frame : pack.frames) {
      const FramePlace place{frame.digest, {pack.pack, frame.offset, frame.stored_bytes}};
      new_here_.insert_or_assign(place.frame, place.location);
      arrived(place);
    }
    packs.add(std::move(pack));
  }

  /// What arrived counts as being here.
  void take_in(ArrivedPacks& packs) {
    for (const auto& [frame, location] : new_here_) here_.insert_or_assign(frame, location);
    packs.write_index();
    for (const std::string& key : list_index_files(store_)) {
      if (std::ranges::find(index_keys_, key) == index_keys_.end() && !mended_.contains(key))
        index_keys_.push_back(key);
    }
  }

  std::vector<DescribedFrame> describe_lost() const {
    std::vector<DescribedFrame> lost;
    std::set<PackDigest> packs;
    for (const Spot& spot : bad_) {
      if (!moved_.contains(spot)) packs.insert(spot.first);
    }
    for (const PackDigest& pack : packs) {
      const PackTables tables = read_pack_tables(store_, pack);
      for (const PackFrame& frame : tables.frames) {
        const FrameLocation location{pack, frame.offset, frame.stored_bytes};
        if (!bad_.contains(spot_of(location)) || moved_.contains(spot_of(location))) continue;
        const auto first = tables.objects.begin() + frame.first_object;
        lost.push_back({frame, location, {first, first + frame.object_count}});
      }
    }
    return lost;
  }

  /// Encodes lost frames anew from their objects, which a later ingest has stored in others. Only the very
  /// same bytes will do.
  void make_again() {
    const std::vector<DescribedFrame> lost = describe_lost();
    if (lost.empty()) return;
    std::vector<std::optional<EncodedFrame>> made(lost.size());
    {
      const FrameRemake remake(
          store_, index_keys_, [this](const FrameLocation& location) { return is_bad(location); },
          [this](const FrameDigest& base) { return read_base(base); });
      parallel_for(lost.size(), options_.threads, [&](std::size_t i) { made[i] = remake.encode(lost[i]); });
    }
    ArrivedPacks packs(store_, [this](const FrameDigest& base) { return place_here(base); });
    std::vector<std::size_t> some;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < lost.size(); ++i) {
      if (!made[i]) continue;
      ++report_.made_frames;
      if (options_.dry_run) {
        moved_.emplace(spot_of(lost[i].location), lost[i].location);
        continue;
      }
      some.push_back(i);
      bytes += lost[i].frame.stored_bytes;
      if (bytes < repository_->parameters().pack_bytes_target) continue;
      store_made(lost, made, std::exchange(some, {}), packs);
      bytes = 0;
    }
    if (!some.empty()) store_made(lost, made, some, packs);
    if (!options_.dry_run) take_in(packs);
  }

  void store_made(const std::vector<DescribedFrame>& lost,
                  const std::vector<std::optional<EncodedFrame>>& made, const std::vector<std::size_t>& some,
                  ArrivedPacks& packs) {
    const auto build = [&] {
      PackBuilder builder(store_);
      MovedPack pack;
      for (const std::size_t i : some) {
        const std::uint64_t offset = builder.add(*made[i], lost[i].objects);
        pack.frames.push_back(
            {lost[i].frame.digest, offset, lost[i].frame.stored_bytes, lost[i].objects, lost[i].frame.bases});
      }
      pack.pack = builder.finish();
      return pack;
    };
    MovedPack pack = build();
    if (make_way(pack.pack)) pack = build();
    arrive(std::move(pack), packs, [this](const FramePlace& frame) { set_found(frame); });
  }

  std::optional<FrameLocation> place_here(const FrameDigest& frame) const {
    const auto place = here_.find(frame);
    return place == here_.end() ? std::nullopt : std::optional(place->second);
  }

  FramePtr read_base(const FrameDigest& base) const {
    if (const auto place = here_.find(base); place != here_.end())
      return read_frame(store_, base, place->second);
    const auto place = there_.find(base);
    if (place == there_.end())
      throw Error(ErrorCode::kDamaged, fmt::format("frame {}, which others stand on, is lost", base.hex()));
    return read_frame(from_->store(), base, place->second);
  }

  /// Where all damaged frames of a pack have another place, its other frames get one too: then it can go.
  void move_neighbours() {
    std::set<PackDigest> packs;
    for (const Spot& spot : bad_) packs.insert(spot.first);
    std::vector<FrameToMove> frames;
    for (const PackDigest& pack : packs) {
      const bool all_found = std::ranges::all_of(
          bad_, [&](const Spot& spot) { return spot.first != pack || moved_.contains(spot); });
      if (!all_found || replaced_packs_.contains(pack)) continue;
      for (const PackFrame& frame : read_pack_tables(store_, pack).frames) {
        const FrameLocation location{pack, frame.offset, frame.stored_bytes};
        if (!is_bad(location)) frames.push_back({frame.digest, location});
      }
      done_packs_.push_back(pack);
    }
    if (options_.dry_run || frames.empty()) return;
    std::unordered_map<FrameDigest, FrameLocation, DigestHash> before;
    for (const FrameToMove& frame : frames) before.emplace(frame.digest, frame.from);
    progress_.begin("moving what is intact", 0);
    move(store_, frames, [&](const FramePlace& frame) {
      moved_.insert_or_assign(spot_of(before.at(frame.frame)), frame.location);
    });
    progress_.end();
  }

  void remove_packs() {
    for (const PackDigest& pack : found_.damaged_packs) {
      const bool all_found = std::ranges::all_of(wanted_, [&](const auto& entry) {
        return entry.first.first != pack || moved_.contains(entry.first);
      });
      if (all_found && !replaced_packs_.contains(pack)) done_packs_.push_back(pack);
    }
    for (const PackDigest& pack : done_packs_) {
      if (!options_.dry_run) store_.remove(pack_key(pack));
      report_.removed_files.push_back(pack_key(pack));
    }
  }

  // --- Places.

  void mend_places() {
    for (const SnapshotDigest& snapshot : repository_->snapshots()) {
      const bool broken = std::ranges::find(broken_places_, snapshot) != broken_places_.end() ||
                          damaged_files_.contains(places_key(snapshot));
      try {
        if (!broken || !rebuild_places(snapshot)) move_places_of(snapshot);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kIo) throw;  // otherwise it stays damaged, and is told
      }
    }
  }

  /// From block map and index. False when some frame is in neither.
  bool rebuild_places(const SnapshotDigest& snapshot) {
    const auto locate = [&](std::size_t, const FrameDigest& frame) {
      const auto place = here_.find(frame);
      return place == here_.end() ? std::vector<FrameLocation>{} : std::vector<FrameLocation>{place->second};
    };
    try {
      CopyPlan plan({repository_, locate, [](const FrameNumbers&, const FoundFrame&) {}, nullptr},
                    {&snapshot, 1});
      for (const std::uint32_t number : plan.missing()) plan.set_arrived(number, *plan.frames()[number].from);
      if (!options_.dry_run) {
        const auto stat = store_.stat(places_key(snapshot));
        const auto version = stat ? std::optional(stat->version) : std::nullopt;
        if (!store_.replace_if_version(places_key(snapshot), encode_places(snapshot, plan.places_of(0)),
                                       version))
          return false;
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      return false;
    }
    mended_.insert(places_key(snapshot));
    return true;
  }

  void move_places_of(const SnapshotDigest& snapshot) {
    while (!options_.dry_run && !moved_.empty()) {
      const auto stat = store_.stat(places_key(snapshot));
      if (!stat) return;
      const auto known = Places::open(store_, snapshot);
      bool moves = false;
      const Bytes bytes =
          move_places(snapshot, *known,
                      [&](std::uint64_t, const FrameLocation& location) {
                        const auto moved = moved_.find(spot_of(location));
                        moves = moves || moved != moved_.end();
                        return std::optional(moved == moved_.end() ? location : moved->second);
                      },
                      {});
      if (!moves) return;
      if (store_.replace_if_version(places_key(snapshot), bytes, stat->version)) return;
    }
  }

  void finish_report() {
    std::set<std::string> told(report_.removed_files.begin(), report_.removed_files.end());
    for (const auto& [spot, lost] : wanted_) {
      if (moved_.contains(spot)) continue;
      report_.lost.push_back({pack_key(spot.first), spot.second, lost.prefix});
      told.insert(report_.lost.back().file);
    }
    report_.mended_files.assign(mended_.begin(), mended_.end());
    std::ranges::sort(report_.removed_files);
    for (const VerifyFinding& finding : options_.dry_run ? found_.damage : check(true).damage) {
      if (told.contains(finding.file) || (options_.dry_run && mended_.contains(finding.file))) continue;
      // Index and places only repeat what is wrong with packs.
      const bool repeats = finding.file.starts_with("index/") || finding.file.starts_with("places/");
      if (wanted_.empty() || !repeats) report_.left.push_back(finding);
    }
  }

  struct FrameToFind {
    std::uint64_t prefix = 0;
    std::uint32_t stored_bytes = 0;
  };

  std::shared_ptr<Store> shared_store_;
  std::shared_ptr<const Repository> repository_;
  Store& store_;
  std::shared_ptr<const Repository> from_;
  const RepairOptions& options_;
  Progress& progress_;
  std::optional<WriterSession> session_;
  VerifyReport found_;
  std::set<std::string> damaged_files_;
  std::set<std::string> mended_;
  std::unordered_set<PackDigest, DigestHash> packs_;  // that are there
  std::vector<std::string> index_keys_;               // that can be read
  std::set<Spot> bad_;                                // frames in packs whose tables can be read
  std::map<Spot, FrameToFind> wanted_;                // all that cannot be read
  std::unordered_map<std::uint64_t, std::vector<Spot>> spots_by_prefix_;
  std::map<Spot, FrameLocation> moved_;  // where what lay there is now
  std::unordered_map<FrameDigest, FrameLocation, DigestHash> here_;
  std::unordered_map<FrameDigest, FrameLocation, DigestHash> new_here_;
  std::unordered_map<FrameDigest, FrameLocation, DigestHash> there_;  // what others stand on
  std::unordered_set<FrameDigest, DigestHash> fetched_;
  std::set<PackDigest> replaced_packs_;  // damaged ones that are whole again under their name
  std::vector<SnapshotDigest> broken_places_;
  std::vector<PackDigest> done_packs_;
  RepairReport report_;
};

}  // namespace

RepairReport repair(const std::shared_ptr<Store>& store, const std::shared_ptr<const Repository>& from,
                    const RepairOptions& options, Progress& progress) {
  return Repair(store, from, options, progress).run();
}

}  // namespace vmpack
