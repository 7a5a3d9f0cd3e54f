// SPDX-License-Identifier: Apache-2.0
#include "tests/inspect/walked_disk.hpp"

#include <fcntl.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/small_file_system.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kBefore = 1 * kMiB;  // what lies around the file system
constexpr std::uint64_t kBehind = 2 * kMiB;

FileType type_of(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
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

SeenFile see(const std::string& path) {
  SeenFile file;
  REQUIRE(::lstat(path.c_str(), &file.status) == 0);
  if (S_ISREG(file.status.st_mode)) file.content = read_file(path);
  if (S_ISLNK(file.status.st_mode)) file.target = std::filesystem::read_symlink(path).string();
  return file;
}

void require_same_attributes(const FileEntry& entry, const SeenFile& seen) {
  const struct stat& status = seen.status;
  CHECK(entry.type == type_of(status));
  CHECK(entry.mode == (status.st_mode & 07777U));
  CHECK(entry.uid == status.st_uid);
  CHECK(entry.gid == status.st_gid);
  CHECK(entry.inode == status.st_ino);
  CHECK(entry.size == static_cast<std::uint64_t>(status.st_size));
  CHECK(entry.modified_ns == status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
  CHECK(entry.target == seen.target);
}

}  // namespace

std::map<std::string, SeenFile> see_files(const std::string& mounted) {
  std::map<std::string, SeenFile> files{{"/", see(mounted)}};
  for (const auto& found : std::filesystem::recursive_directory_iterator(mounted)) {
    files["/" + found.path().lexically_relative(mounted).string()] = see(found.path().string());
  }
  return files;
}

WalkedDisk::WalkedDisk(std::vector<std::string> make, std::uint64_t volume_bytes, std::uint64_t sector_bytes)
    : range_{kBefore, volume_bytes}, sector_bytes_(sector_bytes) {
  make_sparse_file(path(), kBefore + volume_bytes + kBehind);
  const LoopDevice loop = device();
  make.push_back(loop.path());
  run(make);
}

std::map<std::string, SeenFile> WalkedDisk::files() const {
  const LoopDevice loop = device();
  const Mounted mount(loop.path(), mounted(), "ro");
  return see_files(mounted());
}

Volume WalkedDisk::walk() const {
  const LoopDevice loop = device();
  return walk_devices({loop.path()}, range_).front();
}

std::vector<Volume> walk_devices(const std::vector<std::string>& devices, ByteRange range) {
  const TempDir folder;
  std::vector<std::string> arguments{VMPACK_VOLUME_WALKER, folder / "out"};
  arguments.insert(arguments.end(), devices.begin(), devices.end());
  run(arguments);
  const Bytes out = read_file(folder / "out");
  ByteView rest = out;
  std::vector<Volume> volumes;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    LayoutStreamReader reader(LayoutStreamReader::Expect::kVolume, range);
    rest = rest.subspan(reader.feed(rest));
    REQUIRE(reader.ended());
    volumes.push_back(reader.take().volumes.front());
  }
  REQUIRE(rest.empty());
  return volumes;
}

std::size_t require_same_files(const std::string& disk, const Volume& volume,
                               const std::map<std::string, SeenFile>& seen) {
  REQUIRE(volume.files.size() == seen.size());
  std::size_t without_extents = 0;
  std::set<std::pair<dev_t, ino_t>> linked;
  auto next = seen.begin();
  for (const FileEntry& entry : volume.files) {
    INFO(entry.path);
    const auto& [path, file] = *next++;
    REQUIRE(entry.path == path);
    require_same_attributes(entry, file);
    const bool has_content = std::ranges::any_of(file.content, [](std::byte b) { return b != std::byte{0}; });
    const bool first = file.status.st_nlink < 2 || S_ISDIR(file.status.st_mode) ||
                       linked.emplace(file.status.st_dev, file.status.st_ino).second;
    if (!has_content || !first) {
      if (!first) CHECK(entry.extents.empty());
    } else if (entry.extents.empty()) {
      ++without_extents;
    } else if (content_of(disk, entry) != file.content) {
      FAIL_CHECK("what lies at the extents is not the file");
    }
    for (const FileExtent& extent : entry.extents) {
      if (lies_in(volume.free, extent)) FAIL_CHECK("a file lies in free space");
    }
  }
  return without_extents;
}

void spoil_free_space(const std::string& disk, const Volume& volume) {
  constexpr std::uint64_t kPart = 1 * kMiB;
  const Bytes noise = random_bytes(99, kPart);
  const auto file = FileDescriptor::open(disk, O_WRONLY);
  for (const ByteRange& free : volume.free) {
    for (std::uint64_t done = 0; done < free.length; done += kPart) {
      const std::uint64_t length = std::min(kPart, free.length - done);
      write_at(file.get(), ByteView(noise).first(length), free.offset + done, disk);
    }
  }
}

bool can_mount() {
  if (SmallFileSystem::possible()) return true;
  WARN("mounting a file system takes root");
  return false;
}

}  // namespace vmpack::test
