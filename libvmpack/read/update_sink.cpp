// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/update_sink.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

/// What is compared and written at once: the unit of page caches and of most disks.
constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint64_t kReadBytesMax = kMiB;
/// Of a device, shorter ranges of zeros are written like data: giving them back costs more.
constexpr std::uint64_t kDevicePunchBytesMin = 64 * kKiB;

/// Calls `differs(range)` for each run of blocks of [offset, offset + length) on which `same(range)` is
/// false.
template <typename Same, typename Differs>
void for_each_difference(std::uint64_t offset, std::uint64_t length, Same same, Differs differs) {
  ByteRange run{offset, 0};
  for (std::uint64_t at = offset; at < offset + length;) {
    const std::uint64_t end = std::min(round_down(at, kBlockBytes) + kBlockBytes, offset + length);
    if (same(ByteRange{at, end - at})) {
      if (run.length > 0) differs(run);
      run = {end, 0};
    } else {
      run.length = end - run.offset;
    }
    at = end;
  }
  if (run.length > 0) differs(run);
}

}  // namespace

UpdateSink::UpdateSink(const std::string& path, std::uint64_t image_bytes, ByteView image_start, bool force)
    : path_(path), image_bytes_(image_bytes) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) throw system_error(errno, "cannot update", path);
  if (S_ISBLK(status.st_mode)) {
    is_device_ = true;
    open_device(force, image_start);
  } else if (S_ISREG(status.st_mode)) {
    file_ = FileDescriptor::open(path, O_RDWR);
    lock_file();
    if (::ftruncate(file_.get(), static_cast<off_t>(image_bytes)) != 0)
      throw system_error(errno, "cannot size", path);
  } else {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is neither a file nor a block device", path));
  }
}

void UpdateSink::open_device(bool force, ByteView image_start) {
  // Of a block device O_EXCL says that no file system, swap or other device uses it.
  file_ = FileDescriptor(::open(path_.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (!file_ && errno == EBUSY) {
    throw Error(ErrorCode::kRefused, fmt::format("{} is in use", path_),
                "unmount it, or end what uses it (lsblk shows it)");
  }
  if (!file_) throw system_error(errno, "cannot open", path_);
  const off_t device_bytes = ::lseek(file_.get(), 0, SEEK_END);
  if (device_bytes < 0) throw system_error(errno, "cannot examine", path_);
  if (static_cast<std::uint64_t>(device_bytes) < image_bytes_) {
    throw Error(ErrorCode::kRefused, fmt::format("{} is too small: it has {} bytes, and the image {}", path_,
                                                 device_bytes, image_bytes_));
  }
  Bytes start(image_start.size());
  read_at(file_.get(), start, 0, path_);
  if (!force && !is_zero(start) && !std::ranges::equal(start, image_start)) {
    throw Error(ErrorCode::kAlreadyExists, fmt::format("{} holds something else than this image", path_),
                "look at it with 'lsblk -f'; give --force to overwrite it");
  }
}

/// QEMU holds such locks on the files of its disks.
void UpdateSink::lock_file() const {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(file_.get(), F_OFD_SETLK, &lock) == 0) return;
  if (errno != EAGAIN && errno != EACCES) return;  // a file system without locks
  throw Error(ErrorCode::kRefused, fmt::format("{} is in use by another program", path_), "end that first");
}

void UpdateSink::write(std::uint64_t offset, ByteView bytes) {
  {
    const std::lock_guard lock(mutex_);
    data_.push_back({offset, bytes.size()});
  }
  Bytes there(std::min<std::uint64_t>(bytes.size(), kReadBytesMax));
  while (!bytes.empty()) {
    const ByteView part = bytes.first(std::min(bytes.size(), there.size()));
    const ByteSpan now = ByteSpan(there).first(part.size());
    read_at(file_.get(), now, offset, path_);
    const auto within = [&](auto span, ByteRange range) {
      return span.subspan(range.offset - offset, range.length);
    };
    for_each_difference(
        offset, part.size(),
        [&](ByteRange range) { return std::ranges::equal(within(now, range), within(part, range)); },
        [&](ByteRange range) {
          write_at(file_.get(), within(part, range), range.offset, path_);
          written_bytes_ += range.length;
        });
    offset += part.size();
    bytes = bytes.subspan(part.size());
  }
}

void UpdateSink::finish() {
  // What is made zero below the page cache must not meet pages that are still to be written.
  if (::fdatasync(file_.get()) != 0) throw system_error(errno, "cannot write", path_);
  sort_and_join(data_);
  const std::array whole = {ByteRange{0, image_bytes_}};
  for (const ByteRange& range : without(whole, data_)) clear_where_set(range);
  if (::fsync(file_.get()) != 0) throw system_error(errno, "cannot write", path_);
}

/// Looks only where a file may hold something; a device tells nothing of that.
void UpdateSink::clear_where_set(ByteRange range) {
  Bytes there(std::min(range.length, kReadBytesMax));
  for (std::uint64_t at = range.offset; at < range.end();) {
    if (!is_device_) {
      const off_t data = ::lseek(file_.get(), static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) return;
      if (data > 0) at = std::max(at, static_cast<std::uint64_t>(data));
      if (at >= range.end()) return;
    }
    const ByteSpan now = ByteSpan(there).first(std::min(range.end() - at, there.size()));
    read_at(file_.get(), now, at, path_);
    for_each_difference(
        at, now.size(), [&](ByteRange part) { return is_zero(now.subspan(part.offset - at, part.length)); },
        [&](ByteRange part) { clear(part); });
    at += now.size();
  }
}

/// Gives the space back where that is possible.
void UpdateSink::clear(ByteRange range) {
  zeroed_bytes_ += range.length;
  const std::uint64_t start = round_up(range.offset, kBlockBytes);
  const std::uint64_t end = round_down(range.end(), kBlockBytes);
  bool punched = start + (is_device_ ? kDevicePunchBytesMin : kBlockBytes) <= end;
  if (punched) {
    std::array<std::uint64_t, 2> blocks = {start, end - start};
    punched = ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start),
                          static_cast<off_t>(end - start)) == 0 ||
              (is_device_ && ::ioctl(file_.get(), BLKZEROOUT, blocks.data()) == 0);
  }
  if (!punched) {
    write_zeros(range);
    return;
  }
  write_zeros({range.offset, start - range.offset});
  write_zeros({end, range.end() - end});
}

void UpdateSink::write_zeros(ByteRange range) {
  const Bytes zeros(range.length);
  write_at(file_.get(), zeros, range.offset, path_);
}

}  // namespace vmpack
