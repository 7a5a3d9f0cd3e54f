// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/plan.hpp"

#include <algorithm>
#include <numeric>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/partition/classify.hpp"
#include "libvmpack/partition/policy.hpp"

namespace vmpack {
namespace {

/// Disk sectors that a part asks for.
struct Claim {
  ByteRange range;
  std::uint32_t part = 0;
};

bool is_sound(const FileExtent& extent, std::span<const ByteRange> allowed) {
  return extent.length > 0 && extent.disk_offset % kSectorBytes == 0 &&
         extent.file_offset % kSectorBytes == 0 && lies_within(allowed, extent.disk_offset, extent.length) &&
         extent.file_offset <= UINT64_MAX / 2;
}

/// Longer runs that changed and belong to no file are files, or whole volumes, that are newer than the
/// layout. Shorter ones are metadata.
constexpr std::uint64_t kNewFileBytesMin = 32 * kKiB;

/// Splits one file into parts: at holes, and at multiples of kPartBytesMax.
class FilePartBuilder {
 public:
  FilePartBuilder(const FileEntry& file, std::uint32_t volume, std::uint32_t number,
                  std::uint32_t whole_bytes_max)
      : file_(file) {
    proto_.object_class = classify_file(file);
    proto_.cutting = file.size <= whole_bytes_max ? Cutting::kWhole : policy_of(proto_.object_class).cutting;
    proto_.volume = volume;
    proto_.file = number;
  }

  /// Empty when the file's extents make no sense.
  std::vector<Part> build(std::span<const ByteRange> allowed) {
    return add_extents(file_.extents, allowed) ? std::move(parts_) : std::vector<Part>();
  }

  /// What of the file lies in `changed`.
  std::vector<Part> build_changed(std::span<const ByteRange> changed) {
    std::vector<FileExtent> pieces;
    for (const FileExtent& extent : file_.extents) {
      const ByteRange whole{extent.disk_offset, extent.length};
      if (extent.length > UINT64_MAX - extent.disk_offset) continue;
      for (const ByteRange& range : intersect({&whole, 1}, ranges_at(changed, whole))) {
        pieces.push_back({extent.file_offset + (range.offset - whole.offset), range.offset, range.length});
      }
    }
    return add_extents(pieces, changed) ? std::move(parts_) : std::vector<Part>();
  }

 private:
  bool add_extents(std::span<const FileExtent> extents, std::span<const ByteRange> allowed) {
    std::uint64_t next = 0;
    for (const FileExtent& extent : extents) {
      if (!is_sound(extent, allowed) || extent.file_offset < next) return false;
      next = extent.file_offset + extent.length;
      if (extent.file_offset >= file_.size) continue;
      if (!add(extent.file_offset, extent.disk_offset,
               std::min(extent.length, file_.size - extent.file_offset)))
        return false;
    }
    return true;
  }

  /// False when content would continue behind a piece that ends within a sector.
  bool add(std::uint64_t file_offset, std::uint64_t disk_offset, std::uint64_t length) {
    while (length > 0) {
      const bool continues = !parts_.empty() &&
                             parts_.back().file_offset + parts_.back().bytes == file_offset &&
                             file_offset % kPartBytesMax != 0;
      if (!continues) {
        parts_.push_back(proto_);
        parts_.back().file_offset = file_offset;
      } else if (parts_.back().bytes % kSectorBytes != 0) {
        return false;
      }
      Part& part = parts_.back();
      const std::uint64_t piece = std::min(length, kPartBytesMax - file_offset % kPartBytesMax);
      const std::uint64_t sectors = round_up(piece, kSectorBytes);
      if (!part.ranges.empty() && part.ranges.back().end() == disk_offset) {
        part.ranges.back().length += sectors;
      } else {
        part.ranges.push_back({disk_offset, sectors});
      }
      part.bytes += piece;
      file_offset += piece;
      disk_offset += piece;
      length -= piece;
    }
    return true;
  }

  const FileEntry& file_;
  Part proto_;
  std::vector<Part> parts_;
};

bool has_content(const FileEntry& file) {
  return file.type == FileType::kRegular && !file.extents.empty() && file.size > 0;
}

/// `allowed`: where a file may lie; one that begins elsewhere is left to another turn.
std::vector<Part> file_parts(const Layout& layout, std::span<const ByteRange> allowed,
                             const PlanOptions& options, std::uint64_t& rejected) {
  std::vector<Part> parts;
  for (std::uint32_t v = 0; v < layout.volumes.size(); ++v) {
    const Volume& volume = layout.volumes[v];
    for (std::uint32_t f = 0; f < volume.files.size(); ++f) {
      const FileEntry& file = volume.files[f];
      if (!has_content(file)) continue;
      FilePartBuilder builder(file, v, f, options.whole_file_bytes_max);
      if (options.changes) {
        std::ranges::move(builder.build_changed(allowed), std::back_inserter(parts));
        continue;
      }
      const std::uint64_t start = file.extents.front().disk_offset;
      if (start < layout.image_bytes && !lies_within(allowed, start, 1)) continue;
      auto pieces = builder.build(allowed);
      if (pieces.empty()) ++rejected;
      std::ranges::move(pieces, std::back_inserter(parts));
    }
  }
  return parts;
}

std::vector<Claim> claims_of(const std::vector<Part>& parts) {
  std::vector<Claim> claims;
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    for (const ByteRange& range : parts[i].ranges) claims.push_back({range, i});
  }
  std::ranges::sort(claims, {}, [](const Claim& claim) { return std::pair(claim.range.offset, claim.part); });
  return claims;
}

/// Drops parts that claim what another has: of those left no two overlap. One pass is enough, because a claim
/// that meets any earlier one which stands ends its part.
void drop_overlapping(std::vector<Part>& parts, std::uint64_t& rejected) {
  std::vector<bool> dropped(parts.size());
  std::uint64_t taken_until = 0;
  for (const Claim& claim : claims_of(parts)) {
    if (dropped[claim.part]) continue;
    if (claim.range.offset < taken_until) {
      dropped[claim.part] = true;
      ++rejected;
    } else {
      taken_until = claim.range.end();
    }
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (dropped[i]) continue;
    if (kept != i) parts[kept] = std::move(parts[i]);
    ++kept;
  }
  parts.resize(kept);
}

/// A stretch of the disk whose bytes, where no file has them, are of one kind.
struct Zone {
  ByteRange range;
  ObjectClass object_class = ObjectClass::kBoot;
  bool discard = false;
};

ObjectClass class_of(const Volume& volume) {
  if (volume.inspected) return ObjectClass::kFsMetadata;
  if (volume.type == "swap") return ObjectClass::kSwap;
  return volume.type == "bios-boot" ? ObjectClass::kBoot : ObjectClass::kOpaque;
}

/// A stretch of the disk that belongs to one volume.
struct Stretch {
  ByteRange range;
  const Volume* volume = nullptr;
  std::uint64_t volume_offset = 0;  ///< where in the volume it begins
};

/// Sorts, and drops what is not in sectors, not in the image, or claimed by one before.
std::vector<Stretch> untangle(std::vector<Stretch> stretches, std::uint64_t image_bytes) {
  std::ranges::stable_sort(stretches, {}, [](const Stretch& stretch) { return stretch.range.offset; });
  std::vector<Stretch> sound;
  std::uint64_t taken_until = 0;
  for (Stretch& stretch : stretches) {
    ByteRange& range = stretch.range;
    if (range.offset % kSectorBytes != 0 || range.offset < taken_until || range.offset >= image_bytes)
      continue;
    range.length = round_down(std::min(range.length, image_bytes - range.offset), kSectorBytes);
    if (range.length == 0) continue;
    taken_until = range.end();
    sound.push_back(stretch);
  }
  return sound;
}

/// Sorted, none overlapping another. Where a logical volume lies, its physical volume does not.
std::vector<Stretch> stretches_of(const Layout& layout) {
  std::vector<Stretch> logical;
  std::vector<Stretch> others;
  for (const Volume& volume : layout.volumes) {
    std::uint64_t at = 0;
    for (const ByteRange& piece : volume.pieces) {
      logical.push_back({piece, &volume, at});
      at += piece.length;
    }
    if (volume.pieces.empty()) others.push_back({volume.range, &volume, 0});
  }
  std::vector<Stretch> all = untangle(std::move(logical), layout.image_bytes);
  std::vector<ByteRange> taken;
  taken.reserve(all.size());
  for (const Stretch& stretch : all) taken.push_back(stretch.range);
  for (const Stretch& stretch : untangle(std::move(others), layout.image_bytes)) {
    for (const ByteRange& range : without({&stretch.range, 1}, taken)) {
      all.push_back({range, stretch.volume, range.offset - stretch.range.offset});
    }
  }
  std::ranges::sort(all, {}, [](const Stretch& stretch) { return stretch.range.offset; });
  return all;
}

/// Zones that tile the whole image: volumes, the free space in them, and what lies between volumes.
class ZoneBuilder {
 public:
  ZoneBuilder(std::uint64_t image_bytes, bool discard_free)
      : image_bytes_(image_bytes), discard_free_(discard_free) {}

  std::vector<Zone> build(const Layout& layout) {
    for (const Stretch& stretch : stretches_of(layout)) {
      add_until(stretch.range.offset, ObjectClass::kBoot);
      const ObjectClass object_class = class_of(*stretch.volume);
      if (stretch.volume->inspected) add_free(stretch, object_class);
      if (object_class == ObjectClass::kSwap && discard_free_) add_swap(stretch);
      add_until(stretch.range.end(), object_class);
    }
    add_until(image_bytes_, ObjectClass::kBoot);
    return std::move(zones_);
  }

 private:
  void add_free(const Stretch& stretch, ObjectClass object_class) {
    const bool discard = discard_free_ && free_is_discardable(*stretch.volume);
    const std::vector<ByteRange>& free = stretch.volume->free;
    const std::uint64_t end = stretch.range.end();
    // Sorted, or else only some of it is found.
    auto range = std::ranges::upper_bound(free, stretch.range.offset, {}, &ByteRange::offset);
    if (range != free.begin()) --range;
    for (; range != free.end() && range->offset < end; ++range) {
      if (range->offset % kSectorBytes != 0 || range->length % kSectorBytes != 0) continue;
      const std::uint64_t length = std::min(range->length, end - range->offset);
      if (range->offset + length <= at_) continue;
      add_until(range->offset, object_class);
      add_until(range->offset + length, ObjectClass::kFree, discard);
    }
  }

  /// Contents of swap space, behind its header.
  void add_swap(const Stretch& stretch) {
    const std::uint64_t header = kSwapHeaderBytes - std::min(kSwapHeaderBytes, stretch.volume_offset);
    add_until(stretch.range.offset + std::min(header, stretch.range.length), ObjectClass::kSwap);
    add_until(stretch.range.end(), ObjectClass::kSwap, true);
  }

  /// Gives everything from where the last zone ended to one kind.
  void add_until(std::uint64_t end, ObjectClass object_class, bool discard = false) {
    end = std::min(image_bytes_, round_down(end, kSectorBytes));
    if (end <= at_) return;
    zones_.push_back({{at_, end - at_}, object_class, discard});
    at_ = end;
  }

  std::uint64_t image_bytes_;
  bool discard_free_;
  std::uint64_t at_ = 0;
  std::vector<Zone> zones_;
};

/// Parts for what no file claims: data ranges minus claims, split at zone borders and at multiples of
/// kPartBytesMax.
class RestBuilder {
 public:
  RestBuilder(std::vector<Zone> zones, bool changes, Plan& plan)
      : zones_(std::move(zones)), changes_(changes), plan_(plan) {}

  void build(std::span<const ByteRange> data, const std::vector<Claim>& claims) {
    std::size_t claim = 0;
    for (const ByteRange& range : data) {
      std::uint64_t at = range.offset;
      while (claim < claims.size() && claims[claim].range.end() <= at) ++claim;
      for (std::size_t c = claim; c < claims.size() && claims[c].range.offset < range.end(); ++c) {
        if (claims[c].range.offset > at) add(at, claims[c].range.offset);
        at = std::max(at, claims[c].range.end());
      }
      if (at < range.end()) add(at, range.end());
    }
  }

 private:
  void add(std::uint64_t at, std::uint64_t end) {
    const bool is_long = end - at > kNewFileBytesMin;
    while (at < end) {
      while (zones_[zone_].range.end() <= at) ++zone_;
      const Zone& zone = zones_[zone_];
      const std::uint64_t in_zone = at - zone.range.offset;
      const std::uint64_t stop = std::min(
          {end, zone.range.end(), zone.range.offset + round_down(in_zone, kPartBytesMax) + kPartBytesMax});
      if (zone.discard) {
        discarded(zone) += stop - at;
        at = stop;
        continue;
      }
      Part part;
      const bool new_file = changes_ && is_long && policy_of(zone.object_class).cutting == Cutting::kFixed;
      part.object_class = new_file ? ObjectClass::kData : zone.object_class;
      part.cutting = policy_of(part.object_class).cutting;
      part.bytes = stop - at;
      part.ranges.push_back({at, stop - at});
      plan_.parts.push_back(std::move(part));
      at = stop;
    }
  }

  std::uint64_t& discarded(const Zone& zone) {
    return zone.object_class == ObjectClass::kSwap ? plan_.discarded.swap : plan_.discarded.free;
  }

  std::vector<Zone> zones_;
  bool changes_;
  std::size_t zone_ = 0;
  Plan& plan_;
};

}  // namespace

std::uint64_t bytes_of(const Plan& plan) {
  return std::accumulate(plan.parts.begin(), plan.parts.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Part& part) { return sum + part.bytes; });
}

bool free_is_discardable(const Volume& volume) {
  return volume.inspected && !volume.dirty && volume.warning.empty();
}

std::vector<ByteRange> widen_to_files(const Layout& layout, std::span<const ByteRange> changed,
                                      std::span<const ByteRange> readable) {
  std::vector<ByteRange> wide(changed.begin(), changed.end());
  for (const Volume& volume : layout.volumes) {
    for (const FileEntry& file : volume.files) {
      if (!has_content(file)) continue;
      std::vector<ByteRange> whole;
      for (const FileExtent& extent : file.extents) {
        if (!is_sound(extent, readable)) break;
        whole.push_back({extent.disk_offset, round_up(extent.length, kSectorBytes)});
      }
      if (whole.size() != file.extents.size()) continue;
      sort_and_join(whole);
      std::uint64_t differing = 0;
      for (const ByteRange& range : whole) differing += overlap(changed, range);
      if (differing > 0 && differing >= total_bytes(whole) / 2)
        wide.insert(wide.end(), whole.begin(), whole.end());
    }
  }
  sort_and_join(wide);
  return wide;
}

Plan make_plan(const Layout& layout, std::span<const ByteRange> data, const PlanOptions& options) {
  const std::vector<ByteRange> allowed =
      options.only.value_or(std::vector<ByteRange>{{0, layout.image_bytes}});
  Plan plan;
  plan.parts = file_parts(layout, allowed, options, plan.files_rejected);
  drop_overlapping(plan.parts, plan.files_rejected);
  const std::vector<Claim> claims = claims_of(plan.parts);
  RestBuilder(ZoneBuilder(layout.image_bytes, options.discard_free).build(layout), options.changes, plan)
      .build(intersect(data, allowed), claims);
  std::ranges::sort(plan.parts, {}, [](const Part& part) { return part.ranges.front().offset; });
  return plan;
}

}  // namespace vmpack
