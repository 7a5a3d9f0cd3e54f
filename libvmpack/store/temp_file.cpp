// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/temp_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <memory>
#include <vector>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kTempPrefix = "put-";

std::uint64_t random_number() {
  std::uint64_t value = 0;
  VMPACK_ASSERT(::getrandom(&value, sizeof(value), 0) == sizeof(value));
  return value;
}

// True when the lock is ours, or when the file system has none: then nothing is ever taken for a leftover.
bool lock(int file) { return ::flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

bool has_a_name(int file) {
  struct stat status{};
  return ::fstat(file, &status) == 0 && status.st_nlink > 0;
}

// Inode numbers are used again and clocks are coarse, so the two alone do not tell one put from another
// (StoreVersion): the fraction of the modification time's second becomes a random number.
void make_unique(int file) {
  struct stat status{};
  if (::fstat(file, &status) != 0) return;
  const long fraction = static_cast<long>(random_number() % 1'000'000'000);
  const std::array<timespec, 2> times = {timespec{0, UTIME_OMIT}, timespec{status.st_mtim.tv_sec, fraction}};
  // A file system that cannot store it still has the rest of the version.
  static_cast<void>(::futimens(file, times.data()));
}

void write_all(int file, std::span<const ByteView> parts, const std::string& path) {
  std::vector<iovec> pieces;
  pieces.reserve(parts.size());
  for (const ByteView part : parts) {
    // writev only reads; its struct serves readv too, hence the cast.
    if (!part.empty()) pieces.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  for (std::span<iovec> left(pieces); !left.empty();) {
    const auto count = std::min<std::size_t>(left.size(), IOV_MAX);
    const ssize_t put = ::writev(file, left.data(), static_cast<int>(count));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw system_error(errno, "cannot write", path);
    auto done = static_cast<std::size_t>(put);
    while (!left.empty() && done >= left.front().iov_len) {
      done -= left.front().iov_len;
      left = left.subspan(1);
    }
    if (done > 0) {
      left.front().iov_base = static_cast<std::byte*>(left.front().iov_base) + done;
      left.front().iov_len -= done;
    }
  }
}

}  // namespace

TempFile::TempFile(const Folder& temp_folder, std::string path)
    : temp_folder_(temp_folder.descriptor.get()), path_(std::move(path)) {
  // Between making and locking the file somebody may take it for a leftover: then make another.
  while (true) {
    name_ = fmt::format("{}{}-{:016x}", kTempPrefix, ::getpid(), random_number());
    file_ =
        FileDescriptor(::openat(temp_folder_, name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!file_) throw system_error(errno, "cannot write", path_);
    if (lock(file_.get()) && has_a_name(file_.get())) return;
    ::unlinkat(temp_folder_, name_.c_str(), 0);
  }
}

TempFile::~TempFile() {
  if (!name_.empty()) ::unlinkat(temp_folder_, name_.c_str(), 0);
}

void TempFile::write(std::span<const ByteView> parts) { write_all(file_.get(), parts, path_); }

void TempFile::finish() {
  make_unique(file_.get());
  if (::fsync(file_.get()) != 0) throw system_error(errno, "cannot write", path_);
}

bool TempFile::publish_new(int folder, const std::string& name) {
  if (::renameat2(temp_folder_, name_.c_str(), folder, name.c_str(), RENAME_NOREPLACE) == 0) {
    name_.clear();
    return true;
  }
  if (errno == EEXIST) return false;
  if (errno != EINVAL && errno != ENOSYS) throw system_error(errno, "cannot write", path_);
  // This file system cannot rename so (NFS, some of FUSE). A hard link is as good: it takes no name that is
  // taken.
  if (::linkat(temp_folder_, name_.c_str(), folder, name.c_str(), 0) == 0) return true;
  if (errno == EEXIST) return false;
  throw system_error(errno, "cannot write", path_);
}

void TempFile::publish(int folder, const std::string& name) {
  if (::renameat(temp_folder_, name_.c_str(), folder, name.c_str()) != 0) {
    throw system_error(errno, "cannot write", path_);
  }
  name_.clear();
}

void remove_leftovers(const Folder& temp_folder) noexcept {
  const auto close = [](DIR* folder) { ::closedir(folder); };
  const int descriptor = ::openat(temp_folder.descriptor.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  const std::unique_ptr<DIR, decltype(close)> folder(::fdopendir(descriptor), close);
  if (!folder) {
    ::close(descriptor);
    return;
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): readdir is unsafe on one stream only
  while (const dirent* entry = ::readdir(folder.get())) {
    if (!std::string_view(entry->d_name).starts_with(kTempPrefix)) continue;
    const FileDescriptor file(
        ::openat(descriptor, entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) ::unlinkat(descriptor, entry->d_name, 0);
  }
}

}  // namespace vmpack
