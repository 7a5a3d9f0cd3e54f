// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/block_device.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "libvmpack/base/error.hpp"

namespace vmpack {

BlockDevice::BlockDevice(std::string path)
    : path_(std::move(path)), file_(FileDescriptor::open(path_, O_RDONLY)) {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) throw system_error(errno, "cannot read", path_);
  if (!S_ISBLK(status.st_mode)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is no block device", path_));
  }
  number_ = status.st_rdev;
  int read_only = 0;
  if (::ioctl(file_.get(), BLKGETSIZE64, &bytes_) != 0 || ::ioctl(file_.get(), BLKROGET, &read_only) != 0) {
    throw system_error(errno, "cannot read", path_);
  }
  const int yes = 1;
  if (read_only == 0 && ::ioctl(file_.get(), BLKROSET, &yes) != 0) {
    throw system_error(errno, "cannot make read-only", path_);
  }
  was_writable_ = read_only == 0;
}

BlockDevice::~BlockDevice() {
  const int no = 0;
  if (was_writable_) ::ioctl(file_.get(), BLKROSET, &no);
}

void BlockDevice::read(std::uint64_t offset, ByteSpan into) const {
  const std::size_t got = offset < bytes_ ? read_at(file_.get(), into, offset, path_) : 0;
  std::ranges::fill(into.subspan(got), std::byte{0});
}

}  // namespace vmpack
