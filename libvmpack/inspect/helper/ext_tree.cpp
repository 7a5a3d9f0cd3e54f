// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ext_tree.hpp"

#include <algorithm>
#include <limits>
#include <span>

#include "libvmpack/base/limits.hpp"

namespace vmpack {

namespace {

/// Every block is mapped once, every inode named a few times: room for both and some indirection.
std::uint64_t sensible_work(ext2_filsys fs) {
  constexpr std::uint64_t kSlack = 1'000'000;
  return 4 * (ext2fs_blocks_count(fs->super) + fs->super->s_inodes_count) + kSlack;
}

FileType type_of(const ext2_inode& inode) {
  switch (inode.i_mode & LINUX_S_IFMT) {
    case LINUX_S_IFREG:
      return FileType::kRegular;
    case LINUX_S_IFDIR:
      return FileType::kDirectory;
    case LINUX_S_IFLNK:
      return FileType::kSymlink;
    case LINUX_S_IFCHR:
      return FileType::kCharDevice;
    case LINUX_S_IFBLK:
      return FileType::kBlockDevice;
    case LINUX_S_IFIFO:
      return FileType::kFifo;
    case LINUX_S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kUnknown;
  }
}

/// Seconds with the two epoch bits, and nanoseconds, as in the kernel's
/// Documentation/filesystems/ext4/inodes.rst.
std::int64_t modified_ns_of(const ext2_inode_large& inode, std::size_t inode_bytes) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  constexpr std::int64_t kSecondsMax = std::numeric_limits<std::int64_t>::max() / kNanoseconds - 1;
  std::int64_t seconds = static_cast<std::int32_t>(inode.i_mtime);
  std::int64_t nanoseconds = 0;
  const bool has_extra = inode_bytes > EXT2_GOOD_OLD_INODE_SIZE &&
                         std::size_t{EXT2_GOOD_OLD_INODE_SIZE} + inode.i_extra_isize >=
                             offsetof(ext2_inode_large, i_mtime_extra) + sizeof(inode.i_mtime_extra);
  if (has_extra) {
    seconds += static_cast<std::int64_t>(inode.i_mtime_extra & 3U) << 32U;
    nanoseconds = inode.i_mtime_extra >> 2U;
    if (nanoseconds >= kNanoseconds) nanoseconds = 0;
  }
  return std::min(seconds, kSecondsMax) * kNanoseconds + nanoseconds;
}

bool has_blocks_of_its_own(const ext2_inode& inode) {
  return (inode.i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT2_COMPRBLK_FL)) == 0;
}

}  // namespace

ExtTree::ExtTree(ext2_filsys fs, ByteRange volume, LayoutStreamWriter& out, OnBlocks used)
    : fs_(fs),
      volume_(volume),
      out_(out),
      used_(std::move(used)),
      budget_(sensible_work(fs)),
      seen_(fs->super->s_inodes_count),
      block_(fs->blocksize) {}

bool ExtTree::read_inode(ext2_ino_t number, Inode& into) {
  if (number == 0 || number > fs_->super->s_inodes_count) return false;
  ext2_inode_large large{};
  // libext2fs takes both sizes of an inode through the pointer to the smaller one.
  auto* small = static_cast<ext2_inode*>(static_cast<void*>(&large));
  if (ext2fs_read_inode_full(fs_, number, small, sizeof(large)) != 0) return false;
  into.base = *small;
  into.modified_ns = modified_ns_of(large, EXT2_INODE_SIZE(fs_->super));
  return into.base.i_links_count > 0 && type_of(into.base) != FileType::kUnknown;
}

void ExtTree::walk() {
  Inode root;
  if (!read_inode(EXT2_ROOT_INO, root) || !LINUX_S_ISDIR(root.base.i_mode)) {
    ++damage_.directories;
    return;
  }
  path_ = "/";
  seen_.insert(EXT2_ROOT_INO);
  report(EXT2_ROOT_INO, root);
  path_.clear();
  enter(EXT2_ROOT_INO, root.base);
  while (!open_.empty()) {
    Directory& directory = open_.back();
    if (directory.next_step == directory.steps.size()) {
      open_.pop_back();
      continue;
    }
    const Step step = directory.steps[directory.next_step++];
    Child& child = directory.children[step.child];
    path_.resize(directory.path_bytes);
    path_ += '/';
    path_ += directory.name(child);
    if (step.below) {
      enter(child.number, child.inode.base);
    } else {
      report(child.number, child.inode);
    }
  }
}

// Opens the directory at path_.
void ExtTree::enter(ext2_ino_t number, ext2_inode& inode) {
  Directory directory;
  directory.path_bytes = path_.size();
  list(number, inode, directory);
  sort(directory);
  open_.push_back(std::move(directory));
}

void ExtTree::list(ext2_ino_t number, ext2_inode& inode, Directory& into) {
  // Without the key the names of an encrypted directory are noise.
  if ((inode.i_flags & EXT4_ENCRYPT_FL) != 0) return;
  const std::uint64_t damaged_names = damage_.names;
  bool damaged = false;
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) != 0) {
    std::pair<ExtTree*, Directory*> context{this, &into};
    damaged = ext2fs_dir_iterate2(fs_, number, 0, block_.data(), add_inline_name, &context) != 0;
  } else {
    read_block_map(fs_, number, inode, budget_, map_);
    damaged = map_.damaged;
    for (const BlockRun& run : map_.runs) {
      used_(run);
      for (std::uint64_t i = 0; i < run.count && run.written && budget_.spend(); ++i) {
        if (ext2fs_read_dir_block4(fs_, run.physical + i, block_.data(), 0, number) == 0) {
          list_block(block_, into);
        } else {
          damaged = true;
        }
      }
    }
    damaged = damaged || budget_.exhausted();
  }
  if (damaged || damage_.names != damaged_names) ++damage_.directories;

  // Inodes that lie side by side are read one after the other.
  std::ranges::sort(into.children, {}, &Child::number);
  std::erase_if(into.children, [this](Child& child) {
    bool good = budget_.spend() && read_inode(child.number, child.inode);
    if (good && LINUX_S_ISDIR(child.inode.base.i_mode)) {
      // A second way into a directory would make the tree endless.
      child.is_directory = good = seen_.insert(child.number);
    }
    if (!good) ++damage_.names;
    return !good;
  });
}

void ExtTree::list_block(const std::vector<char>& block, Directory& into) {
  constexpr std::size_t kHeaderBytes = 8;  // before the name
  for (std::size_t at = 0; at + kHeaderBytes <= block.size();) {
    ext2_dir_entry entry;
    std::memcpy(&entry, block.data() + at, kHeaderBytes);
    unsigned record_bytes = 0;
    const bool good = ext2fs_get_rec_len(fs_, &entry, &record_bytes) == 0 && record_bytes % 4 == 0 &&
                      record_bytes >= kHeaderBytes && record_bytes <= block.size() - at;
    const auto name_bytes = static_cast<std::size_t>(ext2fs_dirent_name_len(&entry));
    if (!good || (entry.inode != 0 && kHeaderBytes + name_bytes > record_bytes)) {
      ++damage_.names;
      return;
    }
    if (entry.inode != 0) add_name({block.data() + at + kHeaderBytes, name_bytes}, entry.inode, into);
    at += record_bytes;
  }
}

int ExtTree::add_inline_name(ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* data) {
  const auto& [tree, directory] = *static_cast<std::pair<ExtTree*, Directory*>*>(data);
  const auto name_bytes = static_cast<std::size_t>(ext2fs_dirent_name_len(entry));
  tree->add_name({entry->name, name_bytes}, entry->inode, *directory);
  return 0;
}

void ExtTree::add_name(std::string_view name, ext2_ino_t number, Directory& into) {
  if (name == "." || name == "..") return;
  const bool too_deep = into.path_bytes + 1 + name.size() > limits::kPathBytesMax;
  const bool too_many = into.names.size() > std::numeric_limits<std::uint32_t>::max() - 2 * EXT2_NAME_LEN;
  if (name.empty() || too_deep || too_many || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    ++damage_.names;
    return;
  }
  Child& child = into.children.emplace_back();
  child.name_at = static_cast<std::uint32_t>(into.names.size());
  child.name_bytes = static_cast<std::uint16_t>(name.size());
  child.number = number;
  into.names += name;
  into.names += '/';
}

// Paths are in order of their bytes when "a/" and all below it is sorted among a's siblings as such: "a",
// "a-b", "a/x".
void ExtTree::sort(Directory& directory) {
  for (std::uint32_t i = 0; i < directory.children.size(); ++i) {
    directory.steps.push_back({i, false});
    if (directory.children[i].is_directory) directory.steps.push_back({i, true});
  }
  const auto key = [&directory](const Step& step) {
    return directory.name(directory.children[step.child], step.below);
  };
  std::ranges::stable_sort(directory.steps, {}, key);
  const auto repeated = std::ranges::unique(directory.steps, {}, key);
  damage_.names += repeated.size();
  directory.steps.erase(repeated.begin(), repeated.end());
}

// Reports the file at path_.
void ExtTree::report(ext2_ino_t number, Inode& inode) {
  entry_.path = path_;
  entry_.type = type_of(inode.base);
  entry_.mode = inode.base.i_mode & 07777U;
  entry_.uid = inode_uid(inode.base);
  entry_.gid = inode_gid(inode.base);
  entry_.inode = number;
  entry_.modified_ns = inode.modified_ns;
  entry_.size = std::min<std::uint64_t>(EXT2_I_SIZE(&inode.base), std::numeric_limits<std::int64_t>::max());
  entry_.target.clear();
  entry_.extents.clear();
  if (entry_.type == FileType::kRegular && has_blocks_of_its_own(inode.base) && seen_.insert(number)) {
    report_extents(number, inode.base);
  } else if (entry_.type == FileType::kSymlink && !read_target(number, inode.base)) {
    entry_.target.clear();
    ++damage_.files;
  }
  out_.file(entry_);
}

void ExtTree::report_extents(ext2_ino_t number, ext2_inode& inode) {
  read_block_map(fs_, number, inode, budget_, map_);
  if (map_.damaged) ++damage_.files;
  for (const BlockRun& run : map_.runs) {
    used_(run);
    const std::uint64_t file_offset = run.logical * fs_->blocksize;
    if (!run.written || file_offset >= entry_.size) continue;
    // The rest of the last block is no content of the file; neither is what some files have behind their end.
    const std::uint64_t length =
        std::min<std::uint64_t>(run.count * fs_->blocksize, entry_.size - file_offset);
    const std::uint64_t disk_offset = run.physical * fs_->blocksize;
    if (disk_offset + length > volume_.length || entry_.extents.size() == limits::kFileExtentsMax) {
      ++damage_.files;
      return;
    }
    entry_.extents.push_back({file_offset, volume_.offset + disk_offset, length});
  }
}

bool ExtTree::read_target(ext2_ino_t number, ext2_inode& inode) {
  const std::uint64_t length = EXT2_I_SIZE(&inode);
  if ((inode.i_flags & EXT4_ENCRYPT_FL) != 0) return true;
  if (length > limits::kPathBytesMax) return false;
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) != 0) {
    std::size_t held = 0;
    if (ext2fs_inline_data_size(fs_, number, &held) != 0 || held > fs_->blocksize || held < length)
      return false;
    if (ext2fs_inline_data_get(fs_, number, nullptr, block_.data(), &held) != 0) return false;
    entry_.target.assign(block_.data(), length);
  } else if (ext2fs_is_fast_symlink(&inode) != 0) {
    const std::span block(inode.i_block);
    entry_.target.assign(as_text(std::as_bytes(block)).substr(0, length));
  } else {
    read_block_map(fs_, number, inode, budget_, map_);
    if (map_.runs.empty() || map_.runs.front().logical != 0 || length > fs_->blocksize) return false;
    used_(map_.runs.front());
    if (io_channel_read_blk64(fs_->io, map_.runs.front().physical, 1, block_.data()) != 0) return false;
    entry_.target.assign(block_.data(), length);
  }
  return true;
}

}  // namespace vmpack
