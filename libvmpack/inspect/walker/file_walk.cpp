// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/file_walk.hpp"

#include <fcntl.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

FileType type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return FileType::kRegular;
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFCHR:
      return FileType::kCharDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kUnknown;
  }
}

std::int64_t nanoseconds(const timespec& time) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  constexpr std::int64_t kSecondsMax = std::numeric_limits<std::int64_t>::max() / kNanoseconds - 1;
  return std::clamp<std::int64_t>(time.tv_sec, -kSecondsMax, kSecondsMax) * kNanoseconds + time.tv_nsec;
}

std::uint64_t size_of(const struct stat& status) {
  return static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
}

FileDescriptor open_below(int directory, const char* name, int flags) {
  return FileDescriptor(
      ::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags));
}

}  // namespace

FileWalk::FileWalk(int root, const AddressMap& to_disk, std::span<const ByteRange> free,
                   LayoutStreamWriter& out)
    : root_(root), free_(free), out_(out), extents_(to_disk) {
  struct statfs facts{};
  is_btrfs_ = ::fstatfs(root, &facts) == 0 && facts.f_type == BTRFS_SUPER_MAGIC;
}

void FileWalk::walk() {
  struct stat status{};
  if (::fstat(root_, &status) != 0) {
    ++damage_.directories;
    return;
  }
  path_ = "/";
  seen_.emplace(status.st_dev, status.st_ino);
  report(root_, ".", status);
  path_.clear();
  enter(open_below(root_, ".", O_DIRECTORY));
  while (!open_.empty() && !is_cut_short_) {
    Directory& directory = open_.back();
    if (directory.next_step == directory.steps.size()) {
      open_.pop_back();
      continue;
    }
    const Step step = directory.steps[directory.next_step++];
    const Child& child = directory.children[step.child];
    path_.resize(directory.path_bytes);
    path_ += '/';
    path_ += directory.name(child);
    const char* name = path_.c_str() + directory.path_bytes + 1;
    if (step.below) {
      enter(open_below(directory.file.get(), name, O_DIRECTORY));
    } else {
      report(directory.file.get(), name, child.status);
    }
  }
}

// Opens the directory at path_.
void FileWalk::enter(FileDescriptor file) {
  if (!file) {
    // Without its key an encrypted one cannot be read, which is no damage.
    if (errno != ENOKEY) ++damage_.directories;
    return;
  }
  Directory directory;
  directory.file = std::move(file);
  directory.path_bytes = path_.size();
  list(directory);
  look_at_children(directory);
  sort(directory);
  open_.push_back(std::move(directory));
}

void FileWalk::list(Directory& into) {
  // The stream closes its descriptor, and the walk needs one to open what is listed.
  FileDescriptor own(::fcntl(into.file.get(), F_DUPFD_CLOEXEC, 0));
  const DirectoryStream stream(own ? ::fdopendir(own.get()) : nullptr);
  if (stream == nullptr) {
    ++damage_.directories;
    return;
  }
  static_cast<void>(own.release());
  errno = 0;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): readdir is unsafe on one stream only
  while (const dirent* found = ::readdir(stream.get())) {
    add_name(*found, into);
    errno = 0;
  }
  if (errno != 0) ++damage_.directories;
}

void FileWalk::add_name(const dirent& found, Directory& into) {
  const std::string_view name = found.d_name;
  if (name == "." || name == "..") return;
  const bool too_deep = into.path_bytes + 1 + name.size() > limits::kPathBytesMax;
  const bool too_many =
      into.names.size() > std::numeric_limits<std::uint32_t>::max() - 2 * sizeof(found.d_name);
  if (name.empty() || too_deep || too_many || name.find('/') != std::string_view::npos) {
    ++damage_.names;
    return;
  }
  Child& child = into.children.emplace_back();
  child.name_at = static_cast<std::uint32_t>(into.names.size());
  child.name_bytes = static_cast<std::uint32_t>(name.size());
  child.number = found.d_ino;
  into.names += name;
  into.names += '/';
}

void FileWalk::look_at_children(Directory& directory) {
  // Inodes that lie side by side are read one after the other.
  std::ranges::sort(directory.children, {}, &Child::number);
  std::string name;
  std::erase_if(directory.children, [&](Child& child) {
    name = directory.name(child);
    const bool good = ::fstatat(directory.file.get(), name.c_str(), &child.status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!good) ++damage_.names;
    if (!good || !S_ISDIR(child.status.st_mode)) return !good;
    if (is_stand_in(child.status)) return false;
    // A second way into a directory would make the tree endless.
    child.is_entered = seen_.emplace(child.status.st_dev, child.status.st_ino).second;
    if (!child.is_entered) ++damage_.names;
    return false;
  });
}

// In a snapshot, an empty directory that btrfs shows in the place of each subvolume.
bool FileWalk::is_stand_in(const struct stat& status) const {
  return is_btrfs_ && status.st_ino == BTRFS_EMPTY_SUBVOL_DIR_OBJECTID;
}

// Paths are in order of their bytes when "a/" and all below it is sorted among a's siblings as such: "a",
// "a-b", "a/x".
void FileWalk::sort(Directory& directory) {
  for (std::uint32_t i = 0; i < directory.children.size(); ++i) {
    directory.steps.push_back({i, false});
    if (directory.children[i].is_entered) directory.steps.push_back({i, true});
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
void FileWalk::report(int directory, const char* name, const struct stat& status) {
  if (++files_ > limits::kFilesMax) {
    is_cut_short_ = true;
    return;
  }
  entry_.path = path_;
  entry_.type = type_of(status.st_mode);
  entry_.mode = status.st_mode & 07777U;
  entry_.uid = status.st_uid;
  entry_.gid = status.st_gid;
  entry_.inode = status.st_ino;
  // The same image must give the same report: the kernel gives such a directory the time of day.
  entry_.modified_ns = is_stand_in(status) ? 0 : nanoseconds(status.st_mtim);
  entry_.size = size_of(status);
  entry_.target.clear();
  entry_.extents.clear();
  if (entry_.type == FileType::kSymlink) {
    read_target(directory, name);
  } else if (entry_.type == FileType::kRegular && status.st_blocks > 0) {
    const bool first = status.st_nlink < 2 || seen_.emplace(status.st_dev, status.st_ino).second;
    if (first) report_extents(directory, name);
  }
  out_.file(entry_);
}

void FileWalk::report_extents(int directory, const char* name) {
  const FileDescriptor file = open_below(directory, name, 0);
  if (!file && errno == ENOKEY) return;
  const auto outcome =
      file ? extents_.read(file.get(), entry_.size, entry_.extents) : ExtentReader::Outcome::kDamaged;
  if (outcome == ExtentReader::Outcome::kDamaged) ++damage_.files;
  for (const FileExtent& extent : entry_.extents) {
    free_is_in_use_ = free_is_in_use_ || touches(free_, {extent.disk_offset, extent.length});
  }
}

void FileWalk::read_target(int directory, const char* name) {
  std::array<char, limits::kPathBytesMax> target;
  const ssize_t got = ::readlinkat(directory, name, target.data(), target.size());
  if (got >= 0) {
    entry_.target.assign(target.data(), static_cast<std::size_t>(got));
  } else if (errno != ENOKEY) {
    ++damage_.files;
  }
}

}  // namespace vmpack
