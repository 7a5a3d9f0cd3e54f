// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/purge.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/repo/arrived_packs.hpp"
#include "libvmpack/repo/copy.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/object_index_merge.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/repo/verify.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"
#include "libvmpack/snapshot/map_reader.hpp"
#include "libvmpack/snapshot/places_update.hpp"

namespace vmpack {
namespace {

constexpr int kLevel = 3;
constexpr int kNodeLevel = 6;

using ObjectSet = std::unordered_set<ObjectDigest, DigestHash>;
using Spot = std::pair<PackDigest, std::uint64_t>;
Spot spot_of(const FrameLocation& location) { return {location.pack, location.offset}; }

/// A frame that cannot stay as it is.
struct OldFrame {
  FrameDigest digest;
  FrameLocation location;
  ObjectClass object_class = ObjectClass::kOpaque;
  std::vector<ObjectRecord> objects;
  std::vector<ByteRange> purged;  ///< in the decoded frame: whole sectors
};

class Purge {
 public:
  Purge(std::shared_ptr<const Repository> repository, std::span<const ObjectDigest> objects, bool dry_run,
        Progress& progress)
      : repository_(std::move(repository)),
        store_(repository_->store()),
        objects_(objects.begin(), objects.end()),
        dry_run_(dry_run),
        progress_(progress) {
    if (!dry_run_) session_.emplace(*repository_);
  }

  PurgeReport run() {
    find_frames();
    report_.frames = old_frames_.size();
    if (old_frames_.empty()) return std::move(report_);
    find_snapshots();
    if (dry_run_) return std::move(report_);
    make_frames();
    make_snapshots();
    finish_pack();
    move_frames();
    update_index();
    commit();
    remove_old();
    return std::move(report_);
  }

 private:
  struct MadeSnapshot {
    Bytes root;
    MapDigest map;
    std::string manifest;
    std::vector<FrameDigest> frames;  // that its map names anew
  };

  // --- What there is.

  /// In all packs, also those that no index knows.
  void find_frames() {
    const std::vector<PackDigest> packs = list_packs(store_);
    progress_.begin("looking for it", packs.size());
    for (const PackDigest& pack : packs) {
      const PackTables tables = read_pack_tables(store_, pack);
      for (const PackFrame& frame : tables.frames) {
        const auto first = tables.objects.begin() + frame.first_object;
        OldFrame old{frame.digest,
                     {pack, frame.offset, frame.stored_bytes},
                     frame.object_class,
                     {first, first + frame.object_count},
                     {}};
        mark(old);
        if (!old.purged.empty()) old_frames_.try_emplace(frame.digest, std::move(old));
        for (const FrameDigest& base : frame.bases) bases_.try_emplace(base);
      }
      progress_.advance(1);
    }
    progress_.end();
    find_what_stands_on_them(packs);
  }

  void mark(OldFrame& frame) {
    std::uint64_t at = 0;
    for (ObjectRecord& object : frame.objects) {
      if (objects_.contains(object.digest)) {
        frame.purged.push_back({at, round_up(object.bytes, kObjectAlignment)});
        object.digest = ObjectDigest(sha256(Bytes(object.bytes)));
      }
      at = next_object_offset(at, object.bytes);
    }
    sort_and_join(frame.purged);
  }

  void find_what_stands_on_them(std::span<const PackDigest> packs) {
    for (const PackDigest& pack : packs) {
      const PackTables tables = read_pack_tables(store_, pack);
      bool touched = false;
      for (const PackFrame& frame : tables.frames) {
        const FrameLocation location{pack, frame.offset, frame.stored_bytes};
        if (const auto base = bases_.find(frame.digest); base != bases_.end()) base->second = location;
        const bool stands = std::ranges::any_of(frame.bases, [&](const FrameDigest& base) {
          const auto old = old_frames_.find(base);
          return old != old_frames_.end();
        });
        if (stands) {
          const auto first = tables.objects.begin() + frame.first_object;
          old_frames_.try_emplace(
              frame.digest,
              OldFrame{frame.digest, location, frame.object_class, {first, first + frame.object_count}, {}});
        }
        touched = touched || old_frames_.contains(frame.digest);
      }
      if (touched) packs_.push_back(pack);
    }
  }

  /// Snapshots that use any of those, parents first.
  void find_snapshots() {
    std::vector<SnapshotDigest> waiting;
    for (const SnapshotDigest& snapshot : repository_->snapshots()) {
      if (uses_old_frames(snapshot)) waiting.push_back(snapshot);
    }
    while (!waiting.empty()) {
      const auto is_ready = [&](const SnapshotDigest& snapshot) {
        const auto parent = repository_->manifest(snapshot).parent;
        return !parent || std::ranges::find(waiting, *parent) == waiting.end();
      };
      const auto ready = std::ranges::find_if(waiting, is_ready);
      report_.snapshots.push_back({*ready, {}, 0, {}});
      waiting.erase(ready);
    }
    for (PurgedSnapshot& purged : report_.snapshots) find_bytes(purged);
  }

  bool uses_old_frames(const SnapshotDigest& snapshot) const {
    const MapReader map(store_, snapshot, repository_->manifest(snapshot).map);
    bool uses = false;
    map.for_each_page([&](std::uint64_t, const MapPage& page) {
      uses = uses || std::ranges::any_of(
                         page.frames, [&](const FrameDigest& frame) { return old_frames_.contains(frame); });
    });
    return uses;
  }

  /// Which bytes of the image go, and what they belonged to.
  void find_bytes(PurgedSnapshot& purged) const {
    const Manifest manifest = repository_->manifest(purged.before);
    const MapReader map(store_, purged.before, manifest.map);
    std::vector<ByteRange> gone;
    map.for_each_page([&](std::uint64_t region, const MapPage& page) {
      for (const PageRun& run : page.runs) {
        const auto old = old_frames_.find(page.frames[run.frame]);
        if (old == old_frames_.end()) continue;
        const ByteRange held{run.offset, run.length * kSectorBytes};
        for (const ByteRange& piece : intersect({&held, 1}, old->second.purged)) {
          gone.push_back({region + run.start * kSectorBytes + (piece.offset - held.offset), piece.length});
        }
      }
    });
    sort_and_join(gone);
    purged.bytes = total_bytes(gone);
    const auto table = file_table_of(*repository_, purged.before, manifest);
    if (!table || gone.empty()) return;
    for_each_file(store_, map.places(), *table, [&](std::uint32_t, const FileRecord& file) {
      for (const FileExtent& extent : file.entry.extents) {
        if (!touches(gone, {extent.disk_offset, extent.length})) continue;
        purged.files.push_back(file.entry.path);
        return;
      }
    });
  }

  // --- What comes in its place.

  FramePtr read_base(const FrameDigest& digest) const {
    const auto place = bases_.find(digest);
    if (place == bases_.end() || !place->second)
      throw Error(ErrorCode::kDamaged, fmt::format("frame {}, which others stand on, is lost", digest.hex()),
                  "run 'vmpack repair' first");
    return read_frame(store_, digest, *place->second);
  }

  void make_frames() {
    progress_.begin("encoding anew", old_frames_.size());
    for (const auto& [digest, old] : old_frames_) {
      const FramePtr frame =
          read_frame(store_, digest, old.location, [&](const FrameDigest& base) { return read_base(base); });
      Bytes raw(frame->bytes.begin(), frame->bytes.end());
      for (const ByteRange& range : old.purged) {
        const std::uint64_t end = std::min<std::uint64_t>(range.end(), raw.size());
        std::fill(raw.begin() + static_cast<std::ptrdiff_t>(range.offset),
                  raw.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
      }
      EncodedFrame encoded =
          encode_frame(old.object_class, static_cast<std::uint32_t>(old.objects.size()), raw, kLevel);
      replaced_.emplace(digest, encoded.digest);
      add_to_pack(std::move(encoded), old.objects);
      progress_.advance(1);
    }
    progress_.end();
  }

  void add_to_pack(EncodedFrame frame, std::vector<ObjectRecord> objects) {
    if (!added_.insert(frame.digest).second) return;
    if (builder_ == nullptr) builder_ = std::make_unique<PackBuilder>(store_);
    MovedFrame moved{
        frame.digest, 0, static_cast<std::uint32_t>(frame.stored.size()), std::move(objects), {}};
    moved.offset = builder_->add(std::move(frame), moved.objects);
    building_.push_back(std::move(moved));
    if (builder_->bytes() >= repository_->parameters().pack_bytes_target) finish_pack();
  }

  void finish_pack() {
    if (builder_ == nullptr) return;
    const PackDigest pack = builder_->finish();
    builder_.reset();
    for (const MovedFrame& frame : building_) {
      new_places_.emplace(frame.digest, FrameLocation{pack, frame.offset, frame.stored_bytes});
    }
    new_packs_.push_back({pack, std::exchange(building_, {})});
  }

  FrameDigest add_node(Bytes node) {
    const std::vector<ObjectRecord> record{
        {ObjectDigest(sha256(node)), static_cast<std::uint32_t>(node.size())}};
    node.resize(round_up(node.size(), kObjectAlignment));
    EncodedFrame frame = encode_frame(ObjectClass::kMapNode, 1, node, kNodeLevel);
    const FrameDigest digest = frame.digest;
    add_to_pack(std::move(frame), record);
    named_.insert(digest);
    return digest;
  }

  /// The page with the new frames; runs of what is purged are left out. nullopt where nothing changes.
  std::optional<MapPage> changed_page(const MapPage& page) {
    const bool changes =
        std::ranges::any_of(page.frames, [&](const FrameDigest& frame) { return replaced_.contains(frame); });
    if (!changes) return std::nullopt;
    PageBuilder builder(0);
    for (const PageRun& run : page.runs) {
      const FrameDigest& frame = page.frames[run.frame];
      const std::uint64_t start = run.start * kSectorBytes;
      const auto replaced = replaced_.find(frame);
      if (replaced == replaced_.end()) {
        builder.add(start, run.length * kSectorBytes, frame, run.offset);
        continue;
      }
      named_.insert(replaced->second);
      const ByteRange held{run.offset, run.length * kSectorBytes};
      for (const ByteRange& kept : without({&held, 1}, old_frames_.at(frame).purged)) {
        builder.add(start + (kept.offset - held.offset), kept.length, replaced->second,
                    static_cast<std::uint32_t>(kept.offset));
      }
    }
    return builder.page();
  }

  MapRoot changed_map(const MapReader& map) {
    MapRoot root = map.root();
    std::vector<MapChild> directories;
    for (MapChild child : root.directories) {
      const MapDirectory directory = map.directory_in(child.frame);
      MapDirectory changed;
      bool changes = false;
      for (MapChild entry : directory.pages) {
        if (const auto page = changed_page(map.page(entry.frame))) {
          changes = true;
          if (page->runs.empty()) continue;
          entry.frame = add_node(encode(*page));
        }
        changed.pages.push_back(entry);
      }
      if (changes && changed.pages.empty()) continue;
      if (changes) child.frame = add_node(encode(changed));
      directories.push_back(child);
    }
    root.directories = std::move(directories);
    return root;
  }

  void make_snapshots() {
    for (PurgedSnapshot& purged : report_.snapshots) {
      Manifest manifest = repository_->manifest(purged.before);
      const MapReader map(store_, purged.before, manifest.map);
      named_.clear();
      Bytes root = encode(changed_map(map));
      manifest.map = MapDigest(sha256(root));
      manifest.data_bytes -= std::min(manifest.data_bytes, purged.bytes);
      if (manifest.parent) {
        const auto parent = std::ranges::find(report_.snapshots, *manifest.parent, &PurgedSnapshot::before);
        if (parent != report_.snapshots.end()) manifest.parent = parent->after;
      }
      const std::string text = to_json(manifest);
      purged.after = SnapshotDigest(sha256(as_byte_view(text)));
      made_.push_back({std::move(root), manifest.map, text, {named_.begin(), named_.end()}});
    }
  }

  // --- Writing.

  /// What else lies in the packs that go.
  void move_frames() {
    std::vector<FrameToMove> frames;
    for (const PackDigest& pack : packs_) {
      for (const PackFrame& frame : read_pack_tables(store_, pack).frames) {
        if (old_frames_.contains(frame.digest)) continue;
        const FrameLocation location{pack, frame.offset, frame.stored_bytes};
        if (spots_.try_emplace(frame.digest).second) frames.push_back({frame.digest, location});
        spots_[frame.digest].push_back(spot_of(location));
      }
    }
    FrameMover mover(
        store_, store_, repository_->parameters().pack_bytes_target, WholePacks::kKept,
        [this](const FrameDigest& base) { return read_base(base); },
        [&](MovedPack pack) {
          for (const MovedFrame& frame : pack.frames) {
            for (const Spot& spot : spots_.at(frame.digest)) {
              moved_.emplace(spot, FrameLocation{pack.pack, frame.offset, frame.stored_bytes});
            }
          }
        });
    progress_.begin("moving the rest", 0);
    mover.move(frames, progress_);
    mover.finish();
    progress_.end();
  }

  [[nodiscard]] bool is_gone(const PackDigest& pack) const {
    return std::ranges::binary_search(packs_, pack);
  }
  [[nodiscard]] std::optional<FrameLocation> place_now(const FrameLocation& location) const {
    if (!is_gone(location.pack)) return location;
    const auto moved = moved_.find(spot_of(location));
    return moved == moved_.end() ? std::nullopt : std::optional(moved->second);
  }

  void update_index() {
    const std::vector<std::string> before = list_index_files(store_);
    std::vector<Digest> files = merge_index_files(
        store_, before,
        [&](const FrameDigest&, const FrameLocation& location) { return place_now(location); });
    ArrivedPacks arrived(store_, [](const FrameDigest&) { return std::nullopt; });
    for (MovedPack& pack : new_packs_) arrived.add(std::move(pack));
    arrived.write_index();
    for (const std::string& key : before) {
      const bool stays =
          std::ranges::any_of(files, [&](const Digest& file) { return index_key(file) == key; });
      if (!stays) store_.remove(key);
    }
  }

  [[nodiscard]] Bytes places_for(const SnapshotDigest& snapshot, const Places& known,
                                 std::span<const FramePlace> more) const {
    return move_places(
        snapshot, known, [&](std::uint64_t, const FrameLocation& location) { return place_now(location); },
        more);
  }

  void commit() {
    for (std::size_t i = 0; i < report_.snapshots.size(); ++i)
      commit_snapshot(report_.snapshots[i], made_[i]);
    for (const SnapshotDigest& snapshot : snapshots_with_places()) {
      const bool is_new =
          std::ranges::find(report_.snapshots, snapshot, &PurgedSnapshot::after) != report_.snapshots.end();
      if (!is_new && !is_purged(snapshot)) move_places_of(snapshot);
    }
  }

  /// Also those that a killed purge has removed but for their places, and those that a writer is about to
  /// commit.
  [[nodiscard]] std::vector<SnapshotDigest> snapshots_with_places() const {
    constexpr std::string_view kFolder = "places/";
    std::vector<SnapshotDigest> snapshots;
    store_.list(kFolder, [&](const std::string& key, std::uint64_t) {
      if (const auto digest = Digest::from_hex(std::string_view(key).substr(kFolder.size())))
        snapshots.emplace_back(*digest);
    });
    return snapshots;
  }

  [[nodiscard]] bool is_purged(const SnapshotDigest& snapshot) const {
    return std::ranges::find(report_.snapshots, snapshot, &PurgedSnapshot::before) != report_.snapshots.end();
  }

  void commit_snapshot(const PurgedSnapshot& purged, const MadeSnapshot& made) {
    store_.put_if_absent(map_key(made.map), made.root);
    std::vector<FramePlace> places;
    for (const FrameDigest& frame : made.frames) places.push_back({frame, new_places_.at(frame)});
    const auto known = Places::open(store_, purged.before);
    const Bytes bytes = places_for(purged.after, *known, places);
    const auto stat = store_.stat(places_key(purged.after));
    const auto version = stat ? std::optional(stat->version) : std::nullopt;
    if (!store_.replace_if_version(places_key(purged.after), bytes, version))
      throw Error(ErrorCode::kIo, fmt::format("{} was changed meanwhile", places_key(purged.after)),
                  "run the command again");
    store_.put_if_absent(manifest_key(purged.after), as_byte_view(made.manifest));
    const std::size_t kind_at = fmt::format("notes/{}", purged.before.hex()).size();
    for_each_note(store_, purged.before, [&](const std::string& key, const Bytes& note) {
      store_.put_if_absent(fmt::format("notes/{}{}", purged.after.hex(), key.substr(kind_at)), note);
    });
    put_purge_note(purged);
    for (const ReferenceEntry& entry : repository_->references()) {
      if (entry.snapshot != purged.before) continue;
      session_->commit(entry.name, purged.after, true);
      report_.references.push_back(entry.name.text());
    }
  }

  void put_purge_note(const PurgedSnapshot& purged) const {
    ObjectSet all = objects_;
    for (const ObjectDigest& object : purged_objects(*repository_, purged.before)) all.insert(object);
    std::vector<std::string> objects;
    for (const ObjectDigest& object : all) objects.push_back(object.hex());
    std::ranges::sort(objects);
    repository_->put_note(purged.after, kPurgeNote,
                          dump_json({{"before", purged.before.hex()},
                                     {"time", store_.now()},
                                     {"bytes", purged.bytes},
                                     {"objects", objects}}));
  }

  void move_places_of(const SnapshotDigest& snapshot) {
    while (true) {
      const auto stat = store_.stat(places_key(snapshot));
      if (!stat) return;
      const auto known = Places::open(store_, snapshot);
      const std::vector<PackDigest> packs = known->packs();
      if (std::ranges::none_of(packs, [&](const PackDigest& pack) { return is_gone(pack); })) return;
      if (store_.replace_if_version(places_key(snapshot), places_for(snapshot, *known, {}), stat->version))
        return;
    }
  }

  void remove_old() {
    for (const PurgedSnapshot& purged : report_.snapshots) {
      const MapDigest map = repository_->manifest(purged.before).map;
      store_.remove(manifest_key(purged.before));
      std::vector<std::string> notes;
      for_each_note(store_, purged.before,
                    [&](const std::string& key, const Bytes&) { notes.push_back(key); });
      for (const std::string& key : notes) store_.remove(key);
      store_.remove(places_key(purged.before));
      const bool shared = std::ranges::any_of(repository_->snapshots(), [&](const SnapshotDigest& snapshot) {
        return repository_->manifest(snapshot).map == map;
      });
      if (!shared) store_.remove(map_key(map));
    }
    for (const PackDigest& pack : packs_) store_.remove(pack_key(pack));
    report_.packs_removed = packs_.size();
  }

  std::shared_ptr<const Repository> repository_;
  Store& store_;
  ObjectSet objects_;
  bool dry_run_;
  Progress& progress_;
  std::optional<WriterSession> session_;
  std::unordered_map<FrameDigest, OldFrame, DigestHash> old_frames_;
  std::unordered_map<FrameDigest, std::optional<FrameLocation>, DigestHash> bases_;
  std::vector<PackDigest> packs_;  // that go; sorted
  std::unordered_map<FrameDigest, FrameDigest, DigestHash> replaced_;
  std::unordered_set<FrameDigest, DigestHash> added_;
  std::unordered_set<FrameDigest, DigestHash> named_;  // by the map that is being made
  std::unique_ptr<PackBuilder> builder_;
  std::vector<MovedFrame> building_;
  std::vector<MovedPack> new_packs_;
  std::unordered_map<FrameDigest, FrameLocation, DigestHash> new_places_;
  std::unordered_map<FrameDigest, std::vector<Spot>, DigestHash> spots_;
  std::map<Spot, FrameLocation> moved_;
  std::vector<MadeSnapshot> made_;
  PurgeReport report_;
};

}  // namespace

std::vector<ObjectDigest> purged_objects(const Repository& repository, const SnapshotDigest& snapshot) {
  const auto note = repository.note(snapshot, kPurgeNote);
  if (!note) return {};
  const std::string where = fmt::format("the note {} of {}", kPurgeNote, snapshot.hex());
  return read_json(*note, where, [&](const OrderedJson& json) {
    std::vector<ObjectDigest> objects;
    for (const OrderedJson& object : json.at("objects"))
      objects.emplace_back(digest_from_json(object, where));
    return objects;
  });
}

std::vector<ObjectDigest> objects_of_file(const Repository& repository, const SnapshotDigest& snapshot,
                                          const FileEntry& file) {
  Store& store = repository.store();
  const MapReader map(store, snapshot, repository.manifest(snapshot).map);
  std::map<PackDigest, PackTables> tables;
  ObjectSet seen;
  std::vector<ObjectDigest> found;
  const auto add = [&](const FrameDigest& digest, const ByteRange& held) {
    for (const FrameLocation& location : map.places().find(digest)) {
      if (!tables.contains(location.pack))
        tables.emplace(location.pack, read_pack_tables(store, location.pack));
      const PackTables& pack = tables.at(location.pack);
      const auto frame = std::ranges::find(pack.frames, digest, &PackFrame::digest);
      if (frame == pack.frames.end()) continue;
      std::uint64_t at = 0;
      for (std::uint32_t i = 0; i < frame->object_count; ++i) {
        const ObjectRecord& object = pack.objects[frame->first_object + i];
        const ByteRange place{at, object.bytes};
        if (touches({&held, 1}, place) && seen.insert(object.digest).second) found.push_back(object.digest);
        at = next_object_offset(at, object.bytes);
      }
      return;
    }
    throw Error(ErrorCode::kDamaged,
                fmt::format("frame {} is not where {} says", digest.hex(), map.places().key()),
                "run 'vmpack repair' first");
  };
  for (const FileExtent& extent : file.extents) {
    const ByteRange range{extent.disk_offset, extent.length};
    map.for_each_page(
        [&](std::uint64_t region, const MapPage& page) {
          for (const PageRun& run : page.runs) {
            const ByteRange disk{region + run.start * kSectorBytes, run.length * kSectorBytes};
            for (const ByteRange& piece : intersect({&disk, 1}, {&range, 1})) {
              add(page.frames[run.frame], {run.offset + (piece.offset - disk.offset), piece.length});
            }
          }
        },
        range);
  }
  return found;
}

PurgeReport purge(const std::shared_ptr<const Repository>& repository, std::span<const ObjectDigest> objects,
                  bool dry_run, Progress& progress) {
  return Purge(repository, objects, dry_run, progress).run();
}

}  // namespace vmpack
