// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ext_volume.hpp"

#include <ext2fs/ext2fs.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/inspect/helper/ext_io.hpp"
#include "libvmpack/inspect/helper/ext_tree.hpp"
#include "libvmpack/inspect/helper/volume_report.hpp"

extern "C" {
#include <et/com_err.h>  // says so itself only for C
}

namespace vmpack {
namespace {

struct FreeFileSystem {
  void operator()(ext2_filsys fs) const { ext2fs_free(fs); }
};
using FileSystem = std::unique_ptr<struct_ext2_filsys, FreeFileSystem>;

std::string uuid_text(const std::uint8_t (&uuid)[16]) {
  std::string text;
  for (std::size_t i = 0; i < sizeof(uuid); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

/// As libblkid tells them apart.
std::string_view type_of(ext2_super_block& super) {
  constexpr std::uint32_t kIndexedDirectories = 0x4;  // of no name in libext2fs any more
  constexpr std::uint32_t kExt3Incompatible =
      EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT2_FEATURE_INCOMPAT_META_BG;
  constexpr std::uint32_t kExt3ReadOnly =
      EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | kIndexedDirectories;
  if ((super.s_feature_incompat & ~kExt3Incompatible) != 0 ||
      (super.s_feature_ro_compat & ~kExt3ReadOnly) != 0) {
    return "ext4";
  }
  return ext2fs_has_feature_journal(&super) ? "ext3" : "ext2";
}

/// What is wrong with the tables that everything else hangs on; empty when they are sound.
std::vector<std::string> table_damage(ext2_filsys fs) {
  std::vector<std::string> found;
  if (ext2fs_superblock_csum_verify(fs, fs->super) == 0)
    found.emplace_back("a wrong checksum of its superblock");
  std::uint64_t wrong_groups = 0;
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
    if (ext2fs_group_desc_csum_verify(fs, group) == 0) ++wrong_groups;
  }
  if (wrong_groups > 0) {
    found.push_back(counted(wrong_groups, "damaged group descriptor", "damaged group descriptors"));
  } else if (ext2fs_check_desc(fs) != 0) {
    found.emplace_back("damaged group descriptors");
  }
  return found;
}

bool is_dirty(ext2_super_block& super) {
  return ext2fs_has_feature_journal_needs_recovery(&super) || (super.s_state & EXT2_VALID_FS) == 0 ||
         (super.s_state & EXT2_ERROR_FS) != 0;
}

/// Reads the bitmap of blocks in use; wrong checksums count, since nobody should take used space for free.
bool read_bitmap(ext2_filsys fs) {
  fs->flags &= ~EXT2_FLAG_IGNORE_CSUM_ERRORS;
  const bool good = ext2fs_read_block_bitmap(fs) == 0;
  fs->flags |= EXT2_FLAG_IGNORE_CSUM_ERRORS;
  return good;
}

void report_free(ext2_filsys fs, ByteRange volume, LayoutStreamWriter& out) {
  const std::uint64_t last = ext2fs_blocks_count(fs->super) - 1;
  std::uint64_t at = fs->super->s_first_data_block;
  blk64_t first_free = 0;
  while (at <= last && ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, last, &first_free) == 0) {
    blk64_t first_used = 0;
    if (ext2fs_find_first_set_block_bitmap2(fs->block_map, first_free, last, &first_used) != 0)
      first_used = last + 1;
    if (first_used <= first_free) break;
    const ByteRange range{first_free * fs->blocksize, (first_used - first_free) * fs->blocksize};
    if (range.end() > volume.length) break;
    out.free({volume.offset + range.offset, range.length});
    at = first_used;
  }
}

}  // namespace

bool looks_like_ext(ImageClient& image) {
  std::array<std::byte, 2> magic{};
  constexpr std::uint64_t kMagicAt = SUPERBLOCK_OFFSET + offsetof(ext2_super_block, s_magic);
  return image.read(kMagicAt, magic) && read_struct<std::uint16_t>(magic) == EXT2_SUPER_MAGIC;
}

void report_ext_volume(ImageClient& image, Volume found, LayoutStreamWriter& out) {
  initialize_ext2_error_table();
  ext2_filsys opened = nullptr;
  constexpr int kFlags = EXT2_FLAG_64BITS | EXT2_FLAG_IGNORE_CSUM_ERRORS;
  if (const errcode_t error = ext2fs_open2("image", nullptr, kFlags, 0, 0, ext_io_manager(image), &opened);
      error != 0) {
    report_unreadable(found, found.type.empty() ? "ext" : found.type, error_message(error), out);
    return;
  }
  const FileSystem fs(opened);
  ext2_super_block& super = *fs->super;
  if (found.type.empty()) found.type = type_of(super);
  found.uuid = uuid_text(super.s_uuid);
  const std::string_view label = as_text(std::as_bytes(std::span(super.s_volume_name)));
  found.label = label.substr(0, label.find('\0'));
  found.block_bytes = fs->blocksize;
  found.dirty = is_dirty(super);
  const std::uint32_t inodes_used =
      super.s_inodes_count - std::min(super.s_inodes_count, super.s_free_inodes_count);
  out.file_system(found, inodes_used);

  std::vector<std::string> damage = table_damage(fs.get());
  fs->default_bitmap_type = EXT2FS_BMAP64_RBTREE;  // small, however large the file system
  const bool tables_are_sound = damage.empty();
  const bool has_bitmap = tables_are_sound && read_bitmap(fs.get());
  if (tables_are_sound && !has_bitmap) damage.emplace_back("a damaged map of its free space");

  ExtTree tree(fs.get(), image.range(), out, [&fs, has_bitmap](const BlockRun& run) {
    // A file's block that is called free is a file's block.
    if (has_bitmap) {
      ext2fs_mark_block_bitmap_range2(fs->block_map, run.physical, static_cast<unsigned>(run.count));
    }
  });
  tree.walk();
  describe(tree.damage(), damage);
  if (tree.ran_out_of_budget()) damage.emplace_back("block maps that claim more than there is");
  if (has_bitmap) report_free(fs.get(), image.range(), out);
  if (!damage.empty()) out.warning(fmt::format("its file system is damaged: {}", fmt::join(damage, ", ")));
  out.end(true);
}

}  // namespace vmpack
