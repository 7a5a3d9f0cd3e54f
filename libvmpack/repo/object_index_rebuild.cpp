// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index_rebuild.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index_writer.hpp"

namespace vmpack {
namespace {

/// Tables of so many packs are read at once.
constexpr std::size_t kPacksTogether = 16;
constexpr unsigned kReadThreads = 8;

/// The tables of a pack; nullopt when they are missing or damaged.
std::optional<PackTables> try_read_tables(Store& store, const PackDigest& pack) {
  try {
    return read_pack_tables(store, pack);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kNotFound) throw;
    return std::nullopt;
  }
}

class Rebuild {
 public:
  Rebuild(Store& store, std::span<const PackDigest> packs, Progress& progress, std::uint64_t objects_max)
      : store_(store), packs_(packs), progress_(progress), objects_max_(objects_max) {}

  RebuiltIndex run() {
    // What delta frames stand on may lie in packs that come later: first which, then where, then the index.
    for_each_pack("reading packs", [&](const PackDigest& pack, const std::optional<PackTables>& tables) {
      if (!tables) {
        result_.damaged.push_back(pack);
        return;
      }
      for (const PackFrame& frame : tables->frames) {
        for (const FrameDigest& base : frame.bases) bases_.try_emplace(base);
      }
    });
    if (!bases_.empty()) {
      for_each_pack("finding frames", [&](const PackDigest& pack, const std::optional<PackTables>& tables) {
        if (tables) place_bases(pack, *tables);
      });
    }
    for_each_pack("writing the index", [&](const PackDigest& pack, const std::optional<PackTables>& tables) {
      if (tables) add(pack, *tables);
    });
    write();
    std::ranges::sort(result_.files);
    return std::move(result_);
  }

 private:
  /// One after the other, in their order; read several at once.
  void for_each_pack(
      std::string_view stage,
      const std::function<void(const PackDigest& pack, const std::optional<PackTables>& tables)>& each) {
    progress_.begin(stage, packs_.size());
    for (std::size_t first = 0; first < packs_.size(); first += kPacksTogether) {
      const auto together = packs_.subspan(first, std::min(kPacksTogether, packs_.size() - first));
      std::vector<std::optional<PackTables>> tables(together.size());
      parallel_for(together.size(), kReadThreads,
                   [&](std::size_t i) { tables[i] = try_read_tables(store_, together[i]); });
      for (std::size_t i = 0; i < together.size(); ++i) each(together[i], tables[i]);
      progress_.advance(together.size());
    }
    progress_.end();
  }

  void place_bases(const PackDigest& pack, const PackTables& tables) {
    for (const PackFrame& frame : tables.frames) {
      const auto base = bases_.find(frame.digest);
      if (base == bases_.end() || base->second || !frame.bases.empty()) continue;
      base->second = FrameLocation{pack, frame.offset, frame.stored_bytes};
    }
  }

  void add(const PackDigest& pack, const PackTables& tables) {
    builder_.add_pack(pack);
    for (const PackFrame& frame : tables.frames) {
      const auto bases = places_of(frame.bases);
      if (!bases) {
        ++result_.frames_left_out;
        continue;
      }
      result_.objects += frame.object_count;
      builder_.add_frame(frame.digest, frame.offset, frame.stored_bytes,
                         std::span(tables.objects).subspan(frame.first_object, frame.object_count), *bases);
    }
    if (builder_.object_count() >= objects_max_) write();
  }

  [[nodiscard]] std::optional<std::vector<FramePlace>> places_of(std::span<const FrameDigest> bases) const {
    std::vector<FramePlace> places;
    for (const FrameDigest& base : bases) {
      const auto& location = bases_.at(base);
      if (!location) return std::nullopt;
      places.push_back({base, *location});
    }
    return places;
  }

  void write() {
    if (!builder_.empty()) result_.files.push_back(builder_.write(store_));
    builder_ = {};
  }

  Store& store_;
  std::span<const PackDigest> packs_;
  Progress& progress_;
  std::uint64_t objects_max_;
  std::unordered_map<FrameDigest, std::optional<FrameLocation>, DigestHash> bases_;
  ObjectIndexBuilder builder_;
  RebuiltIndex result_;
};

}  // namespace

RebuiltIndex rebuild_index(Store& store, std::span<const PackDigest> packs, Progress& progress,
                           std::uint64_t objects_max) {
  return Rebuild(store, packs, progress, objects_max).run();
}

}  // namespace vmpack
