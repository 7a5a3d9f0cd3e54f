// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/partition_table.hpp"

#include <fmt/core.h>
#include <strings.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/helper/probe_file.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kBiosBootGuid = "21686148-6449-6e6f-744e-656564454649";

// The master boot record and the chained ones of an extended partition share their form: four entries of 16
// bytes at 446 (kind of partition at 4, first sector at 8), and a mark.
constexpr std::size_t kEntriesAt = 446;
constexpr std::size_t kEntryBytes = 16;
constexpr std::size_t kEntries = 4;
using BootRecord = std::array<std::byte, kSectorBytes>;

struct BootRecordEntry {
  std::uint8_t type = 0;
  std::uint64_t first_sector = 0;

  [[nodiscard]] bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

bool is_boot_record(const BootRecord& record) {
  return record[kSectorBytes - 2] == std::byte{0x55} && record[kSectorBytes - 1] == std::byte{0xaa};
}

BootRecordEntry entry_of(const BootRecord& record, std::size_t index) {
  const ByteView bytes = ByteView(record).subspan(kEntriesAt + index * kEntryBytes, kEntryBytes);
  return {std::to_integer<std::uint8_t>(bytes[4]), read_struct<std::uint32_t>(bytes.subspan(8))};
}

/// Copies the chain of boot records in an extended partition, for libblkid to follow.
void copy_logical_chain(ImageClient& image, ProbeFile& file, std::uint64_t extended_sector,
                        std::uint64_t sector_bytes) {
  std::uint64_t at_sector = extended_sector;
  for (std::uint64_t i = 0; i < limits::kVolumesMax; ++i) {
    BootRecord record;
    if (!image.read(at_sector * sector_bytes, record) || !is_boot_record(record)) return;
    file.copy(at_sector * sector_bytes, sector_bytes);
    std::uint64_t next = 0;
    for (std::size_t entry = 0; entry < kEntries; ++entry) {
      if (entry_of(record, entry).is_extended())
        next = extended_sector + entry_of(record, entry).first_sector;
    }
    if (next <= at_sector) return;
    at_sector = next;
  }
}

void copy_logical_chains(ImageClient& image, ProbeFile& file, std::uint64_t sector_bytes) {
  BootRecord record;
  if (!image.read(0, record) || !is_boot_record(record)) return;
  for (std::size_t entry = 0; entry < kEntries; ++entry) {
    const BootRecordEntry found = entry_of(record, entry);
    if (found.is_extended()) copy_logical_chain(image, file, found.first_sector, sector_bytes);
  }
}

struct Table {
  std::string kind;
  std::string id;
  std::vector<Volume> partitions;
};

std::string text_or_empty(const char* text) { return text == nullptr ? std::string() : std::string(text); }

Volume describe(blkid_partition partition, bool is_gpt) {
  Volume volume;
  // Both in units of 512 bytes, whatever the disk's own sectors are.
  const auto start = static_cast<std::uint64_t>(blkid_partition_get_start(partition));
  const auto size = static_cast<std::uint64_t>(blkid_partition_get_size(partition));
  constexpr std::uint64_t kSectorsMax = limits::kImageBytesMax / kSectorBytes;
  volume.range = {std::min(start, kSectorsMax) * kSectorBytes, std::min(size, kSectorsMax) * kSectorBytes};
  volume.number = static_cast<std::uint32_t>(blkid_partition_get_partno(partition));
  if (is_gpt) {
    volume.partition_type = text_or_empty(blkid_partition_get_type_string(partition));
    if (::strcasecmp(volume.partition_type.c_str(), kBiosBootGuid.data()) == 0) volume.type = "bios-boot";
  } else {
    volume.partition_type = fmt::format("0x{:02x}", blkid_partition_get_type(partition));
  }
  return volume;
}

Table read_table(ImageClient& image, unsigned sector_bytes) {
  Table table;
  ProbeFile file(image);
  constexpr std::uint64_t kTableBytes = 256 * kKiB;  // a GPT and its backup take 17 KiB, and may take more
  file.copy(0, kTableBytes);
  file.copy(image.size() - std::min(image.size(), kTableBytes), kTableBytes);
  copy_logical_chains(image, file, sector_bytes);
  const Probe probe = file.probe();
  if (!probe || blkid_probe_set_sectorsize(probe.get(), sector_bytes) != 0) return table;
  blkid_partlist list = blkid_probe_get_partitions(probe.get());
  blkid_parttable found = list == nullptr ? nullptr : blkid_partlist_get_table(list);
  if (found == nullptr) return table;
  const std::string kind = text_or_empty(blkid_parttable_get_type(found));
  if (kind != "gpt" && kind != "dos") return table;
  table.kind = kind == "dos" ? "mbr" : kind;
  table.id = text_or_empty(blkid_parttable_get_id(found));
  for (int i = 0; i < blkid_partlist_numof_partitions(list); ++i) {
    blkid_partition partition = blkid_partlist_get_partition(list, i);
    // The extended partition is only a wrapping; tables inside partitions are their own business.
    const bool is_ours =
        blkid_partition_get_table(partition) == found || blkid_partition_is_logical(partition) != 0;
    if (is_ours && blkid_partition_is_extended(partition) == 0) {
      table.partitions.push_back(describe(partition, kind == "gpt"));
    }
  }
  std::ranges::stable_sort(table.partitions, {}, [](const Volume& volume) { return volume.range.offset; });
  return table;
}

/// Cuts off what reaches out of the image or into the partition before, and says so.
std::string make_sane(std::vector<Volume>& partitions, std::uint64_t image_bytes) {
  std::uint64_t covered = 0;
  std::vector<Volume> sane;
  std::string warning;
  for (Volume& volume : partitions) {
    const ByteRange claimed = volume.range;
    if (claimed.offset < covered || claimed.offset >= image_bytes || claimed.length == 0) {
      warning = fmt::format("partition {} overlaps another one or lies outside the image, and is left out",
                            volume.number);
      continue;
    }
    volume.range.length = std::min(claimed.length, image_bytes - claimed.offset);
    if (volume.range.length < claimed.length) {
      warning = fmt::format("partition {} reaches behind the end of the image", volume.number);
    }
    covered = volume.range.end();
    sane.push_back(std::move(volume));
  }
  partitions = std::move(sane);
  return warning;
}

bool lies_inside(const Table& table, std::uint64_t image_bytes) {
  return std::ranges::all_of(table.partitions,
                             [&](const Volume& volume) { return volume.range.end() <= image_bytes; });
}

std::size_t count_recognised(ImageClient& image, const Table& table) {
  const ByteRange disk = image.range();
  std::size_t count = 0;
  for (const Volume& partition : table.partitions) {
    const std::uint64_t start = partition.range.offset;
    if (start >= disk.length) continue;
    image.set_range({start, std::min(partition.range.length, disk.length - start)});
    if (!identify_volume(image).type.empty()) ++count;
  }
  image.set_range(disk);
  return count;
}

/// A GPT lies where the disk's sectors say. A master boot record is in the first sector of any disk and
/// counts in sectors of a size that it does not tell: the larger ones are believed where they put more file
/// systems at the start of a partition.
Table find_table(ImageClient& image) {
  constexpr unsigned kLargeSectorBytes = 4096;
  Table table = read_table(image, kSectorBytes);
  if (table.kind == "gpt" && !table.partitions.empty()) return table;
  Table large = read_table(image, kLargeSectorBytes);
  if (table.partitions.empty()) return large;
  const bool is_believed = !large.partitions.empty() && lies_inside(large, image.size()) &&
                           count_recognised(image, large) > count_recognised(image, table);
  return is_believed ? large : table;
}

}  // namespace

std::vector<Volume> report_partition_table(ImageClient& image, LayoutStreamWriter& out) {
  Table table = find_table(image);
  const std::string warning = make_sane(table.partitions, image.size());
  if (table.partitions.empty()) table = {};
  out.table(table.kind, table.id);
  for (const Volume& volume : table.partitions) out.partition(volume);
  if (!warning.empty()) out.warning(warning);
  out.end(true);
  return std::move(table.partitions);
}

}  // namespace vmpack
