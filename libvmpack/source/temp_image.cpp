// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/temp_image.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/temp_folder.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kHoleBytes = 4 * kKiB;  // the smallest stretch of zeros that is left out
constexpr std::uint64_t kSpaceCheckBytes = 64 * kMiB;
// What stays free for others: a twentieth of the disk, and no more than this.
constexpr std::uint64_t kSpaceKeptBytesMax = 1 * kGiB;
constexpr unsigned kSpaceKeptShare = 20;

std::string with_random_end(const std::string& folder) { return folder + "/vmpack-XXXXXX"; }

}  // namespace

TempImage::TempImage(std::string purpose, std::uint64_t bytes_max)
    : purpose_(std::move(purpose)), bytes_max_(bytes_max), folder_(temp_folder()) {
  file_ = FileDescriptor(::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file_) return;
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT) {
    throw system_error(errno, fmt::format("cannot make a file {} in", purpose_), folder_);
  }
  std::string name = with_random_end(folder_);
  file_ = FileDescriptor(::mkostemp(name.data(), O_CLOEXEC));
  if (!file_) throw system_error(errno, fmt::format("cannot make a file {} in", purpose_), folder_);
  name_ = std::move(name);
}

TempImage::TempImage(TempImage&& other) noexcept
    : purpose_(std::move(other.purpose_)),
      bytes_max_(other.bytes_max_),
      folder_(std::move(other.folder_)),
      name_(std::exchange(other.name_, {})),
      file_(std::move(other.file_)),
      bytes_(other.bytes_),
      written_(other.written_),
      next_space_check_(other.next_space_check_) {}

TempImage::~TempImage() {
  if (!name_.empty()) ::unlink(name_.c_str());
}

void TempImage::require_allowed(std::uint64_t more) const {
  if (more <= bytes_max_ - bytes_) return;
  throw Error(ErrorCode::kLimit,
              fmt::format("it would take more than the {} allowed {}", format_bytes(bytes_max_), purpose_));
}

void TempImage::skip(std::uint64_t bytes) {
  require_allowed(bytes);
  bytes_ += bytes;
}

void TempImage::append(ByteView bytes) {
  require_allowed(bytes.size());
  const std::uint64_t start = bytes_;
  std::size_t data = 0;  // where the stretch begins that is not written yet
  for (std::size_t at = 0; at < bytes.size();) {
    // Holes lie where the file system can have them, wherever `bytes` begins.
    const std::size_t end =
        std::min<std::size_t>(round_down(start + at + kHoleBytes, kHoleBytes) - start, bytes.size());
    if (is_zero(bytes.subspan(at, end - at))) {
      write(bytes.subspan(data, at - data), start + data);
      data = end;
    }
    at = end;
  }
  write(bytes.subspan(data), start + data);
  bytes_ += bytes.size();
}

void TempImage::write(ByteView bytes, std::uint64_t offset) {
  if (bytes.empty()) return;
  if (written_ >= next_space_check_) require_space();
  try {
    write_at(file_.get(), bytes, offset, folder_);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNoSpace) throw;
    throw Error(ErrorCode::kNoSpace,
                fmt::format("the disk of {} is full: there is no room {}", folder_, purpose_),
                "set TMPDIR to a folder with more room");
  }
  written_ += bytes.size();
}

void TempImage::require_space() {
  next_space_check_ = written_ + kSpaceCheckBytes;
  struct statvfs disk{};
  if (::fstatvfs(file_.get(), &disk) != 0) return;  // then the disk says itself when it is full
  const std::uint64_t kept =
      std::min<std::uint64_t>(disk.f_blocks * disk.f_frsize / kSpaceKeptShare, kSpaceKeptBytesMax);
  const std::uint64_t left = disk.f_bavail * disk.f_frsize;
  if (left > kept) return;
  throw Error(ErrorCode::kNoSpace,
              fmt::format("the disk of {} has {} left: there is no room {}, of which {} are done", folder_,
                          format_bytes(left), purpose_, format_bytes(bytes_)),
              "set TMPDIR to a folder with more room");
}

void TempImage::finish() {
  if (::ftruncate(file_.get(), static_cast<off_t>(bytes_)) != 0) {
    throw system_error(errno, "cannot write", folder_);
  }
}

NamedTempImage::NamedTempImage(const TempImage& image, const std::string& name)
    : folder_(with_random_end(image.folder_)) {
  if (::mkdtemp(folder_.data()) == nullptr) throw system_error(errno, "cannot make", folder_);
  path_ = folder_ + "/" + name;
  const std::string from =
      image.name_.empty() ? fmt::format("/proc/self/fd/{}", image.file_.get()) : image.name_;
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    const int error_number = errno;
    ::rmdir(folder_.c_str());
    throw system_error(error_number, "cannot make", path_);
  }
}

NamedTempImage::~NamedTempImage() {
  ::unlink(path_.c_str());
  ::rmdir(folder_.c_str());
}

}  // namespace vmpack
