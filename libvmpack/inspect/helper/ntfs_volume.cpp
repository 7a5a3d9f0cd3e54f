// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ntfs_volume.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/inspect/helper/ntfs_files.hpp"
#include "libvmpack/inspect/helper/tsk_image.hpp"
#include "libvmpack/inspect/helper/volume_report.hpp"

namespace vmpack {
namespace {

struct CloseTskFileSystem {
  void operator()(TSK_FS_INFO* fs) const { tsk_fs_close(fs); }
};
using TskFileSystem = std::unique_ptr<TSK_FS_INFO, CloseTskFileSystem>;

/// False when not all of it can be read.
bool read_all(const TSK_FS_ATTR& data, std::uint64_t offset, ByteSpan into) {
  const ssize_t got = tsk_fs_attr_read(&data, static_cast<TSK_OFF_T>(offset),
                                       static_cast<char*>(static_cast<void*>(into.data())), into.size(),
                                       TSK_FS_FILE_READ_FLAG_NONE);
  return got == static_cast<ssize_t>(into.size());
}

/// Reads $Bitmap, which says what is in use. False when it cannot be read.
bool read_bitmap(TSK_FS_INFO& fs, ClusterMap& clusters) {
  const TskFile file(tsk_fs_file_open_meta(&fs, nullptr, NTFS_MFT_BMAP));
  const TSK_FS_ATTR* data = file ? unnamed_attribute(*file, TSK_FS_ATTR_TYPE_NTFS_DATA) : nullptr;
  const std::uint64_t bytes = divide_up(clusters.size(), 8);
  if (data == nullptr || data->size < 0 || static_cast<std::uint64_t>(data->size) < bytes) return false;
  Bytes piece(64 * kKiB);
  for (std::uint64_t at = 0; at < bytes; at += piece.size()) {
    const auto part = ByteSpan(piece).first(std::min<std::uint64_t>(piece.size(), bytes - at));
    if (!read_all(*data, at, part)) return false;
    clusters.load(at * 8, part);
  }
  return true;
}

/// The mark that Windows sets while it changes a volume, and chkdsk takes away.
bool is_marked_dirty(TSK_FS_INFO& fs) {
  const TskFile file(tsk_fs_file_open_meta(&fs, nullptr, NTFS_MFT_VOL));
  const TSK_FS_ATTR* info = file ? unnamed_attribute(*file, TSK_FS_ATTR_TYPE_NTFS_VINFO) : nullptr;
  constexpr std::uint64_t kFlagsAt = 10;
  std::array<std::byte, 2> flags{};
  if (info == nullptr || !read_all(*info, kFlagsAt, flags)) return true;
  return (read_struct<std::uint16_t>(flags) & NTFS_VINFO_DIRTY) != 0;
}

/// What a restart page of $LogFile says about the log, as in ntfs-3g's logfile.h and Windows' own documents.
struct Restart {
  std::uint64_t newest = 0;  ///< log sequence number
  bool is_clean = false;
};

std::optional<Restart> read_restart_page(const TSK_FS_ATTR& log, std::uint64_t offset) {
  constexpr std::size_t kAreaOffsetAt = 24;
  constexpr std::size_t kAreaBytes = 16;
  constexpr std::uint16_t kNoClient = 0xffff;
  constexpr std::uint16_t kVolumeIsClean = 0x0002;
  std::array<std::byte, kSectorBytes> page{};
  if (!read_all(log, offset, page)) return {};
  const std::string_view magic = as_text(page).substr(0, 4);
  const std::size_t area_at = read_struct<std::uint16_t>(ByteView(page).subspan(kAreaOffsetAt));
  if ((magic != "RSTR" && magic != "CHKD") || area_at > page.size() - kAreaBytes) return {};
  const ByteView area = ByteView(page).subspan(area_at, kAreaBytes);
  const auto client_in_use = read_struct<std::uint16_t>(area.subspan(12));
  const auto flags = read_struct<std::uint16_t>(area.subspan(14));
  return Restart{read_struct<std::uint64_t>(area),
                 client_in_use == kNoClient || (flags & kVolumeIsClean) != 0};
}

/// Whether the log holds changes that are not on the volume yet.
bool has_log_to_replay(TSK_FS_INFO& fs) {
  constexpr std::uint64_t kPageBytes = 4 * kKiB;
  const TskFile file(tsk_fs_file_open_meta(&fs, nullptr, NTFS_MFT_LOG));
  const TSK_FS_ATTR* log = file ? unnamed_attribute(*file, TSK_FS_ATTR_TYPE_NTFS_DATA) : nullptr;
  if (log == nullptr) return true;
  const auto first = read_restart_page(*log, 0);
  const auto second = read_restart_page(*log, kPageBytes);
  if (first && second) return !(second->newest > first->newest ? second : first)->is_clean;
  if (first || second) return !(first ? first : second)->is_clean;
  // A new log, or one that a repair tool emptied, is all ones.
  std::array<std::byte, 4> start{};
  return !read_all(*log, 0, start) ||
         !std::ranges::all_of(start, [](std::byte byte) { return byte == std::byte{0xff}; });
}

void report_free(const ClusterMap& clusters, std::uint64_t cluster_bytes, ByteRange volume,
                 LayoutStreamWriter& out) {
  clusters.for_each_free([&](std::uint64_t first, std::uint64_t count) {
    out.free({volume.offset + first * cluster_bytes, count * cluster_bytes});
  });
}

std::vector<std::string> damage_of(const NtfsFiles& files, const TreeDamage& tree, bool has_bitmap) {
  std::vector<std::string> damage;
  if (files.damaged_records() > 0) {
    damage.push_back(counted(files.damaged_records(), "damaged file record", "damaged file records"));
  }
  describe(tree, damage);
  if (!has_bitmap || files.has_files_in_free_space()) damage.emplace_back("a damaged map of its free space");
  if (files.ran_out_of_budget()) damage.emplace_back("file records that claim more than there is");
  return damage;
}

}  // namespace

void report_ntfs_volume(ImageClient& image, Volume found, LayoutStreamWriter& out) {
  const TskImage tsk_image(image);
  const TskFileSystem fs(tsk_fs_open_img(tsk_image.get(), 0, TSK_FS_TYPE_NTFS));
  if (!fs) {
    report_unreadable(found, found.type, tsk_error_get_errstr(), out);
    return;
  }
  auto& ntfs = *static_cast<NTFS_INFO*>(static_cast<void*>(fs.get()));
  const ByteRange volume = image.range();
  const std::uint64_t cluster_bytes = ntfs.csize_b;
  ClusterMap clusters(std::min<std::uint64_t>(fs->block_count, volume.length / cluster_bytes));
  const bool has_bitmap = read_bitmap(*fs, clusters);

  FileTree tree(volume);
  NtfsFiles files(ntfs, volume, tree, clusters);
  files.read_all();
  if (!files.root()) {
    report_unreadable(found, found.type, "it has no root directory", out);
    return;
  }
  found.block_bytes = cluster_bytes;
  found.dirty = is_marked_dirty(*fs) || has_log_to_replay(*fs) || files.is_hibernated();
  out.file_system(found, tree.size());
  tree.report(*files.root(), out);
  const auto damage = damage_of(files, tree.damage(), has_bitmap);
  if (!damage.empty()) {
    out.warning(fmt::format("its file system is damaged: {}", fmt::join(damage, ", ")));
  } else if (files.has_shadow_copies()) {
    out.warning("shadow copies lie in its free space, so none of it is taken for free");
  }
  if (has_bitmap && !files.has_files_in_free_space() && !files.has_shadow_copies()) {
    report_free(clusters, cluster_bytes, volume, out);
  }
  out.end(true);
}

}  // namespace vmpack
