// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/fat_table.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace vmpack {
namespace {

constexpr std::uint32_t kMask32 = 0x0fff'ffff;  // the upper four bits are nobody's business

template <typename T>
T at(ByteView sector, std::size_t offset) {
  return read_struct<T>(sector.subspan(offset));
}

unsigned entry_bits_of(std::uint64_t clusters, bool has_wide_table) {
  constexpr std::uint64_t kFat12Clusters = 4085;  // and FAT16 begins
  // Linux and mkfs.fat go by the place of the table's size rather than by the number of clusters.
  if (has_wide_table) return 32;
  return clusters < kFat12Clusters ? 12 : 16;
}

std::uint64_t entries_in(std::uint64_t bytes, unsigned entry_bits) { return bytes * 8 / entry_bits; }

}  // namespace

std::optional<FatGeometry> read_fat_geometry(ImageClient& image) {
  std::array<std::byte, kSectorBytes> boot{};
  if (!image.read(0, boot)) return {};
  const std::uint64_t sector_bytes = at<std::uint16_t>(boot, 11);
  const std::uint64_t cluster_sectors = at<std::uint8_t>(boot, 13);
  const std::uint64_t tables = at<std::uint8_t>(boot, 16);
  if (!std::has_single_bit(sector_bytes) || sector_bytes < kSectorBytes || sector_bytes > 4 * kKiB ||
      !std::has_single_bit(cluster_sectors) || tables == 0) {
    return {};
  }
  const bool has_wide_table = at<std::uint16_t>(boot, 22) == 0;
  const std::uint64_t table_sectors =
      has_wide_table ? at<std::uint32_t>(boot, 36) : at<std::uint16_t>(boot, 22);
  const std::uint64_t small_total = at<std::uint16_t>(boot, 19);
  const std::uint64_t total = small_total != 0 ? small_total : at<std::uint32_t>(boot, 32);

  FatGeometry fat;
  fat.cluster_bytes = sector_bytes * cluster_sectors;
  fat.table_bytes = table_sectors * sector_bytes;
  fat.table_offset = at<std::uint16_t>(boot, 14) * sector_bytes;
  fat.root = {fat.table_offset + tables * fat.table_bytes,
              round_up(at<std::uint16_t>(boot, 17) * std::uint64_t{32}, sector_bytes)};
  fat.data_offset = fat.root.end();
  const std::uint64_t end = std::min(total * sector_bytes, image.size());
  if (fat.table_bytes == 0 || fat.table_offset == 0 || fat.data_offset >= end) return {};

  fat.clusters = (end - fat.data_offset) / fat.cluster_bytes;
  fat.entry_bits = entry_bits_of(fat.clusters, has_wide_table);
  const std::uint64_t entries = entries_in(fat.table_bytes, fat.entry_bits);
  constexpr std::uint64_t kClustersMax = kMask32 - 16;
  if (entries <= FatTable::kFirstCluster) return {};
  fat.clusters = std::min({fat.clusters, entries - FatTable::kFirstCluster, kClustersMax});
  if (tables > 1) fat.copy_offset = fat.table_offset + fat.table_bytes;
  if (has_wide_table) {
    const unsigned flags = at<std::uint16_t>(boot, 40);
    constexpr unsigned kOneTableOnly = 0x80;
    if ((flags & kOneTableOnly) != 0) {
      const std::uint64_t in_use = flags & 0xfU;
      if (in_use >= tables) return {};
      fat.table_offset += in_use * fat.table_bytes;
      fat.copy_offset = 0;
    }
    fat.root_cluster = at<std::uint32_t>(boot, 44) & kMask32;
  }
  fat.marked_dirty = (at<std::uint8_t>(boot, has_wide_table ? 65 : 37) & 1U) != 0;
  return fat;
}

bool FatTable::load(ImageClient& image) {
  const std::uint64_t entries = geometry_.clusters + kFirstCluster;
  const std::uint64_t bytes = divide_up(entries * geometry_.entry_bits, 8);
  // A multiple of three bytes, so that no piece ends within an entry.
  constexpr std::uint64_t kPieceBytes = 192 * kKiB;
  entries_.reserve(entries);
  Bytes piece(kPieceBytes);
  Bytes copy(kPieceBytes);
  for (std::uint64_t done = 0; done < bytes; done += kPieceBytes) {
    const auto length = std::min(kPieceBytes, bytes - done);
    const auto part = ByteSpan(piece).first(length);
    if (!image.read(geometry_.table_offset + done, part)) return false;
    decode(part);
    if (geometry_.copy_offset == 0) continue;
    const auto other = ByteSpan(copy).first(length);
    if (!image.read(geometry_.copy_offset + done, other) || !std::ranges::equal(part, other)) {
      copies_differ_ = true;
    }
  }
  return entries_.size() == entries;
}

void FatTable::decode(ByteView table) {
  const std::uint64_t wanted = geometry_.clusters + kFirstCluster;
  const std::uint64_t count =
      std::min(entries_in(table.size(), geometry_.entry_bits), wanted - entries_.size());
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t entry = 0;
    if (geometry_.entry_bits == 32) {
      entry = at<std::uint32_t>(table, 4 * i) & kMask32;
    } else if (geometry_.entry_bits == 16) {
      entry = at<std::uint16_t>(table, 2 * i);
    } else {
      const unsigned pair = at<std::uint16_t>(table, i * 3 / 2);
      entry = i % 2 == 0 ? pair & 0xfffU : pair >> 4U;
    }
    entries_.push_back(entry);
  }
}

bool FatTable::is_end(std::uint32_t entry) const {
  const std::uint32_t all = geometry_.entry_bits == 32 ? kMask32 : (1U << geometry_.entry_bits) - 1;
  return entry >= all - 7;
}

bool FatTable::marked_dirty() const {
  if (geometry_.entry_bits == 12) return false;
  const std::uint32_t sound = 0xcU << (geometry_.entry_bits == 32 ? 24U : 12U);  // unmounted, without errors
  return (entries_[1] & sound) != sound;
}

}  // namespace vmpack
