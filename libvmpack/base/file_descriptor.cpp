// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/file_descriptor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "libvmpack/base/error.hpp"

namespace vmpack {

FileDescriptor FileDescriptor::open(const std::string& path, int flags, unsigned mode) {
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!file)
    throw system_error(errno, (flags & O_ACCMODE) == O_RDONLY ? "cannot open" : "cannot write", path);
  return file;
}

void FileDescriptor::reset() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

std::size_t read_at(int descriptor, ByteSpan into, std::uint64_t offset, std::string_view path) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got =
        ::pread(descriptor, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "cannot read", path);
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void write_at(int descriptor, ByteView bytes, std::uint64_t offset, std::string_view path) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put =
        ::pwrite(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw system_error(errno, "cannot write", path);
    done += static_cast<std::size_t>(put);
  }
}

}  // namespace vmpack
