// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/verify.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/condemned.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

std::optional<Digest> digest_in_key(std::string_view key, std::size_t at) {
  return key.size() < at + 64 ? std::nullopt : Digest::from_hex(key.substr(at, 64));
}

/// Files that others may remove at any time, when they are done with them.
bool comes_and_goes(std::string_view key) {
  return std::ranges::any_of(std::array{"leases/", "claims/", "gc/", "index/"},
                             [&](const char* folder) { return key.starts_with(folder); });
}

/// What is known about a frame without reading it.
struct KnownFrame {
  FrameDigest digest;
  std::uint32_t stored_bytes;
  std::uint32_t raw_bytes;
  std::vector<ObjectRecord> objects;
  std::vector<FrameDigest> bases;
};
using PackContents = std::map<std::uint64_t, KnownFrame>;  // by offset

constexpr std::size_t kRecentBasesMax = 64;

class Verifier {
 public:
  Verifier(std::shared_ptr<Store> store, const VerifyOptions& options, Progress& progress)
      : store_(std::move(store)), options_(options), progress_(progress) {}

  VerifyReport run() {
    if (!open()) return finish();
    if (options_.reference.empty()) {
      check_everything();
    } else {
      check_one(repository_->resolve(options_.reference));
    }
    return finish();
  }

 private:
  VerifyReport finish() {
    std::ranges::sort(report_.damage, {},
                      [](const VerifyFinding& finding) { return std::pair(finding.file, finding.what); });
    std::ranges::sort(report_.damaged_frames, {}, [](const DamagedFrame& frame) {
      return std::pair(frame.location.pack.bytes, frame.location.offset);
    });
    std::ranges::sort(report_.damaged_packs);
    return std::move(report_);
  }

  void found(const std::string& file, const std::string& what) {
    const std::lock_guard lock(mutex_);
    report_.damage.push_back({file, what});
  }

  /// Runs a check; what it throws is a finding about `file`. False when it threw.
  template <typename Check>
  bool guarded(const std::string& file, Check check) {
    try {
      check();
      return true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      if (error.code() == ErrorCode::kNotFound && comes_and_goes(file) && !store_->stat(file)) return false;
      found(file, error.what());
      return false;
    }
  }

  bool open() {
    try {
      repository_ = Repository::open(store_);
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged) throw;
      found("vmpack.json", error.what());
      return false;
    }
  }

  void check_everything() {
    std::vector<std::string> keys;
    store_->list("", [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
    for (const std::string& key : keys) {
      if (key.starts_with("packs/")) load_pack(key);
    }
    for (const std::string& key : keys) check_small_file(key);
    check_frames_of_packs();
    for (const auto& [pack, contents] : packs_) {
      report_.unreferenced_packs += indexed_.contains(pack) ? 0U : 1U;
      ++report_.packs;
      report_.frames += contents.size();
      for (const auto& [offset, frame] : contents) report_.objects += frame.objects.size();
    }
  }

  /// Everything but packs. Snapshots need the packs to be known.
  void check_small_file(const std::string& key) {
    if (key == "vmpack.json" || key.starts_with("packs/")) return;
    if (key.starts_with("refs/")) return check_reference(key);
    if (key.starts_with("index/")) return check_index(key);
    if (key.starts_with("snapshots/")) return check_snapshot_file(key);
    if (key.starts_with("notes/")) return check_sealed_file(key);
    if (key.starts_with("maps/") || key.starts_with("files/")) return check_root_file(key);
    if (key.starts_with("places/")) return check_places(key);
    if (key.starts_with("leases/") || key.starts_with("claims/") || key == kCondemnedKey)
      return check_sealed_file(key);
    found(key, "it is no file of a repository");
  }

  void load_pack(const std::string& key) {
    const auto pack = pack_of_key(key);
    const bool readable = guarded(key, [&] {
      if (!pack) throw Error(ErrorCode::kDamaged, "its name is not that of a pack");
      const PackTables tables = read_pack_tables(*store_, *pack);
      PackContents& contents = packs_[*pack];
      for (const PackFrame& frame : tables.frames) {
        const auto first = tables.objects.begin() + frame.first_object;
        contents[frame.offset] = {frame.digest,
                                  frame.stored_bytes,
                                  frame.raw_bytes,
                                  {first, first + frame.object_count},
                                  frame.bases};
        for (const FrameDigest& base : frame.bases) bases_.try_emplace(base);
      }
    });
    if (!readable && pack) report_.damaged_packs.push_back(*pack);
  }

  [[nodiscard]] const KnownFrame* frame_at(const FrameLocation& location) const {
    const auto pack = packs_.find(location.pack);
    if (pack == packs_.end()) return nullptr;
    const auto frame = pack->second.find(location.offset);
    if (frame == pack->second.end() || frame->second.stored_bytes != location.stored_bytes) return nullptr;
    return &frame->second;
  }

  void check_reference(const std::string& key) {
    guarded(key, [&] {
      const std::string_view rest = std::string_view(key).substr(5);
      const auto slash = rest.find('/');
      if (slash == std::string_view::npos)
        throw Error(ErrorCode::kDamaged, "its name is not that of a reference");
      const ReferenceName name = parse_reference_name(std::string(rest.substr(0, slash)) + ":" +
                                                      std::string(rest.substr(slash + 1)));
      const auto entry = repository_->find(name);
      if (!entry) return;  // it was removed
      if (!store_->stat(manifest_key(entry->snapshot))) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("it points to {}, which is missing", manifest_key(entry->snapshot)));
      }
      ++report_.references;
    });
  }

  void check_sealed_file(const std::string& key) {
    guarded(key, [&] {
      const Bytes bytes = store_->get(key, limits::kJsonBytesMax);
      check_sealed_json(as_text(bytes), key);
    });
  }

  void check_root_file(const std::string& key) {
    guarded(key, [&] {
      const bool is_map = key.starts_with("maps/");
      const auto digest = digest_in_key(key, std::string_view(is_map ? "maps/ab/" : "files/ab/").size());
      const Bytes bytes = store_->get(key, limits::kFileTableRootBytesMax);
      if (!digest || sha256(bytes) != *digest)
        throw Error(ErrorCode::kDamaged, "its bytes do not match its name");
      if (is_map) {
        static_cast<void>(decode_map_root(bytes, key));
      } else {
        static_cast<void>(decode_file_table_root(bytes, key));
      }
    });
  }

  void check_places(const std::string& key) {
    guarded(key, [&] {
      const auto snapshot = digest_in_key(key, std::string_view("places/").size());
      if (!snapshot) throw Error(ErrorCode::kDamaged, "its name is not that of a places file");
      check_placed(*Places::open(*store_, SnapshotDigest(*snapshot)));
    });
  }

  /// That every frame is where `places` says, as far as the packs' tables tell.
  void check_placed(const Places& places) {
    places.for_each([&](std::uint64_t prefix, const FrameLocation& location) {
      const KnownFrame* frame = frame_at(location);
      if (frame != nullptr && frame->digest.prefix() == prefix) {
        for (const FrameDigest& base : frame->bases) {
          if (!places.find(base).empty()) continue;
          throw Error(ErrorCode::kDamaged,
                      fmt::format("it has no place for frame {}, which frame {} stands on", base.hex(),
                                  frame->digest.hex()));
        }
        return;
      }
      // A pack that is itself damaged was told already.
      if (packs_.contains(location.pack) || !store_->stat(pack_key(location.pack))) {
        throw Error(ErrorCode::kDamaged, fmt::format("it points to {} at offset {}, where no such frame is",
                                                     pack_key(location.pack), location.offset));
      }
    });
  }

  void check_index(const std::string& key) {
    guarded(key, [&] {
      const auto digest = digest_in_key(key, std::string_view("index/").size());
      const auto file = ObjectIndexFile::open(*store_, key);
      if (!digest || file->digest() != *digest)
        throw Error(ErrorCode::kDamaged, "its bytes do not match its name");
      file->for_each([&](const ObjectDigest& object, const ObjectLocation& location) {
        indexed_.insert(location.location.pack);
        const KnownFrame* frame = frame_at(location.location);
        if (frame == nullptr) {
          if (!packs_.contains(location.location.pack) && store_->stat(pack_key(location.location.pack)))
            return;
          throw Error(ErrorCode::kDamaged,
                      fmt::format("it points to {} at offset {}, where no such frame is",
                                  pack_key(location.location.pack), location.location.offset));
        }
        check_indexed_object(object, location, *frame);
      });
    });
  }

  static void check_indexed_object(const ObjectDigest& object, const ObjectLocation& location,
                                   const KnownFrame& frame) {
    std::uint64_t at = 0;
    for (const ObjectRecord& record : frame.objects) {
      if (at == location.offset && record.digest == object && record.bytes == location.bytes) return;
      at = next_object_offset(at, record.bytes);
    }
    throw Error(ErrorCode::kDamaged, fmt::format("object {} is not where it says", object.hex()));
  }

  void check_snapshot_file(const std::string& key) {
    guarded(key, [&] {
      const auto digest = digest_in_key(key, std::string_view("snapshots/").size());
      if (!digest) throw Error(ErrorCode::kDamaged, "its name is not that of a manifest");
      check_snapshot(SnapshotDigest(*digest), nullptr);
    });
  }

  /// Manifest, map and file table of a snapshot. Collects the frames it reads from into `uses` where asked;
  /// without it the packs' own tables tell whether frames are long enough.
  void check_snapshot(const SnapshotDigest& snapshot,
                      std::unordered_map<FrameDigest, std::uint64_t, DigestHash>* uses) {
    const Manifest manifest = repository_->manifest(snapshot);
    ++report_.snapshots;
    guarded(map_key(manifest.map), [&] {
      const MapReader map(*store_, snapshot, manifest.map);
      if (map.root().image_bytes != manifest.image_bytes) {
        throw Error(ErrorCode::kDamaged, "it is of another size than the manifest says");
      }
      if (options_.quick) return;
      for (const MapChild& child : map.root().directories) {
        if (uses == nullptr && !checked_nodes_.insert(child.frame).second) continue;
        if (uses != nullptr) need(*uses, child.frame, 0);
        const auto directory = map.directory(child.index);
        for (const MapChild& page : directory->pages) {
          if (uses == nullptr && !checked_nodes_.insert(page.frame).second) continue;
          if (uses != nullptr) need(*uses, page.frame, 0);
          check_page(map, map.page(page.frame), uses);
        }
      }
    });
    if (const auto files = file_table_of(*repository_, snapshot, manifest))
      check_file_table(snapshot, *files, uses);
  }

  static void need(std::unordered_map<FrameDigest, std::uint64_t, DigestHash>& uses, const FrameDigest& frame,
                   std::uint64_t bytes) {
    std::uint64_t& most = uses[frame];
    most = std::max(most, bytes);
  }

  void check_page(const MapReader& map, const MapPage& page,
                  std::unordered_map<FrameDigest, std::uint64_t, DigestHash>* uses) {
    std::vector<std::uint64_t> most(page.frames.size());
    for (const PageRun& run : page.runs) {
      most[run.frame] = std::max(most[run.frame], run.offset + run.length * kSectorBytes);
    }
    for (std::size_t i = 0; i < page.frames.size(); ++i) {
      if (uses != nullptr) {
        need(*uses, page.frames[i], most[i]);
        continue;
      }
      const auto locations = map.places().find(page.frames[i]);
      if (locations.empty()) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("{} has no place for frame {}", map.places().key(), page.frames[i].hex()));
      }
      const KnownFrame* frame = frame_at(locations.front());
      if (frame != nullptr && frame->digest == page.frames[i] && frame->raw_bytes < most[i]) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("a page points behind the end of frame {}", frame->digest.hex()));
      }
    }
  }

  void check_file_table(const SnapshotDigest& snapshot, const FileTableDigest& digest,
                        std::unordered_map<FrameDigest, std::uint64_t, DigestHash>* uses) {
    const std::string key = file_table_key(digest);
    guarded(key, [&] {
      const Bytes bytes = store_->get(key, limits::kFileTableRootBytesMax);
      if (sha256(bytes) != digest) throw Error(ErrorCode::kDamaged, "its bytes do not match its name");
      const FileTableRoot root = decode_file_table_root(bytes, key);
      if (options_.quick) return;
      const auto places = Places::open(*store_, snapshot);
      for (const FileTableVolume& volume : root.volumes) {
        for (const FileTablePage& page : volume.pages) {
          if (uses == nullptr && !checked_nodes_.insert(page.frame).second) continue;
          if (uses != nullptr) need(*uses, page.frame, 0);
          static_cast<void>(decode_file_table_page(read_placed_frame(*places, page.frame)->bytes, key));
        }
      }
    });
  }

  void check_frames_of_packs() {
    if (options_.quick) return;
    struct Item {
      const PackDigest* pack;
      std::uint64_t offset;
      const KnownFrame* frame;
    };
    std::vector<Item> items;
    std::uint64_t bytes = 0;
    for (const auto& [pack, contents] : packs_) {
      for (const auto& [offset, frame] : contents) {
        items.push_back({&pack, offset, &frame});
        bytes += frame.stored_bytes;
      }
    }
    report_.bytes_read = bytes;
    find_bases();
    progress_.begin("verifying", bytes);
    parallel_for(items.size(), options_.threads, [&](std::size_t i) {
      const Item& item = items[i];
      static_cast<void>(check_frame(*item.frame, {*item.pack, item.offset, item.frame->stored_bytes}, 0));
      progress_.advance(item.frame->stored_bytes);
    });
    progress_.end();
  }

  /// Reads a frame, which must have `bytes` at least, and checks all in it. False when it cannot be read.
  bool check_frame(const KnownFrame& known, const FrameLocation& location, std::uint64_t bytes) {
    FramePtr frame;
    const std::string key = pack_key(location.pack);
    std::string what = "what it stands on is damaged";
    const bool intact = guarded(key, [&] {
      try {
        frame = read_known_frame(known, location);
        if (!frame) return;
        check_objects(*frame, known.raw_bytes, known.objects, key);
        if (frame->bytes.size() < bytes)
          throw Error(ErrorCode::kDamaged, "a page points behind the end of a frame");
      } catch (const Error& error) {
        what = error.what();
        throw;
      }
    });
    if (intact && frame) return true;
    const std::lock_guard lock(mutex_);
    report_.damaged_frames.push_back({known.digest, location, std::move(what), intact});
    return false;
  }

  /// Where the frames lie that delta frames stand on.
  void find_bases() {
    for (const auto& [pack, contents] : packs_) {
      for (const auto& [offset, frame] : contents) {
        if (const auto base = bases_.find(frame.digest); base != bases_.end()) {
          base->second = FrameLocation{pack, offset, frame.stored_bytes};
        }
      }
    }
  }

  /// Null when what the frame stands on is damaged: that is told of the file that holds it.
  FramePtr read_known_frame(const KnownFrame& frame, const FrameLocation& location) {
    bool told = false;
    try {
      return read_frame(*store_, frame.digest, location, [&](const FrameDigest& base) {
        told = bases_.at(base).has_value();
        FramePtr found = read_base(base);
        told = false;
        return found;
      });
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo || !told) throw;
      return nullptr;
    }
  }

  FramePtr read_base(const FrameDigest& digest) {
    const auto& location = bases_.at(digest);
    if (!location) {
      throw Error(ErrorCode::kDamaged,
                  fmt::format("it stands on frame {}, which is in no pack", digest.hex()));
    }
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = recent_bases_.find(digest); known != recent_bases_.end()) return known->second;
    }
    FramePtr base = read_frame(*store_, digest, *location);
    const std::lock_guard lock(mutex_);
    // Neighbours stand on the same ones: the simplest bound will do.
    if (recent_bases_.size() >= kRecentBasesMax) recent_bases_.clear();
    return recent_bases_.try_emplace(digest, std::move(base)).first->second;
  }

  /// Reads all that one snapshot needs.
  void check_one(const SnapshotDigest& snapshot) {
    std::unordered_map<FrameDigest, std::uint64_t, DigestHash> uses;
    if (!guarded(manifest_key(snapshot), [&] { check_snapshot(snapshot, &uses); })) return;
    guarded(places_key(snapshot), [&] {
      const auto places = Places::open(*store_, snapshot);
      report_.packs = places->packs().size();
      report_.frames = places->count();
      for (const PackDigest& pack : places->packs()) load_pack(pack_key(pack));
      check_placed(*places);
      if (options_.quick) return;
      find_bases();
      for (const auto& [base, location] : bases_) {
        if (!places->find(base).empty()) need(uses, base, 0);
      }
      check_uses(*places, {uses.begin(), uses.end()});
    });
  }

  void check_uses(const Places& places, const std::vector<std::pair<FrameDigest, std::uint64_t>>& uses) {
    std::atomic<std::uint64_t> bytes_read = 0;
    std::atomic<std::uint64_t> objects = 0;
    progress_.begin("verifying", 0);
    parallel_for(uses.size(), options_.threads, [&](std::size_t i) {
      const auto& [digest, bytes] = uses[i];
      const auto locations = places.find(digest);
      if (locations.empty()) {
        return found(places.key(), fmt::format("it has no place for frame {}", digest.hex()));
      }
      // Another frame's digest may begin in the same way; a pack that is itself damaged was told already.
      const auto known = std::ranges::find_if(locations, [&](const FrameLocation& place) {
        const KnownFrame* frame = frame_at(place);
        return frame != nullptr && frame->digest == digest;
      });
      if (known == locations.end()) return;
      const FrameLocation& location = *known;
      const KnownFrame& expected = *frame_at(location);
      if (check_frame(expected, location, bytes)) objects += expected.objects.size();
      bytes_read += location.stored_bytes;
      progress_.advance(location.stored_bytes);
    });
    report_.frames = uses.size();
    report_.objects = objects;
    report_.bytes_read = bytes_read;
    progress_.end();
  }

  std::shared_ptr<Store> store_;
  const VerifyOptions& options_;
  Progress& progress_;
  std::shared_ptr<Repository> repository_;
  std::map<PackDigest, PackContents> packs_;
  std::unordered_set<PackDigest, DigestHash> indexed_;
  std::unordered_set<FrameDigest, DigestHash> checked_nodes_;
  std::unordered_map<FrameDigest, std::optional<FrameLocation>, DigestHash> bases_;
  std::unordered_map<FrameDigest, FramePtr, DigestHash> recent_bases_;
  std::mutex mutex_;  // of report_.damage and recent_bases_
  VerifyReport report_;
};

}  // namespace

VerifyReport verify(const std::shared_ptr<Store>& store, const VerifyOptions& options, Progress& progress) {
  return Verifier(store, options, progress).run();
}

std::vector<PackDigest> list_packs(Store& store) {
  std::vector<PackDigest> packs;
  store.list("packs/", [&](const std::string& key, std::uint64_t) {
    if (const auto pack = pack_of_key(key)) packs.push_back(*pack);
  });
  return packs;
}

}  // namespace vmpack
