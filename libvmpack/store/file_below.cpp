// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/file_below.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::string path_below(const Folder& root, std::string_view key) {
  return fmt::format("{}/{}", root.path, key);
}

// O_DIRECTORY and O_NOFOLLOW report a link as ENOTDIR, like a file.
void refuse_link(int folder, const std::string& name, std::string_view path) {
  struct stat status{};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode)) {
    throw Error(ErrorCode::kRefused,
                fmt::format("{} is a symbolic link, and links are not followed here", path),
                "put the file or folder itself in its place");
  }
}

FileDescriptor duplicate(const Folder& root) {
  FileDescriptor copy(::openat(root.descriptor.get(), ".", kFolderFlags));
  if (!copy) throw system_error(errno, "cannot open", root.path);
  return copy;
}

// Walks to the folder `key`; makes folders on the way if asked to.
FileDescriptor walk(const Folder& root, std::string_view key, bool make) {
  FileDescriptor at = duplicate(root);
  for (std::size_t begin = 0; begin < key.size();) {
    const std::size_t end = std::min(key.find('/', begin), key.size());
    const std::string name(key.substr(begin, end - begin));
    const auto path = [&] { return path_below(root, key.substr(0, end)); };
    if (make && ::mkdirat(at.get(), name.c_str(), 0777) != 0 && errno != EEXIST) {
      throw system_error(errno, "cannot make the folder", path());
    }
    FileDescriptor next(::openat(at.get(), name.c_str(), kFolderFlags));
    if (!next) {
      const int error = errno;
      if (error == ENOTDIR || error == ELOOP) refuse_link(at.get(), name, path());
      if (!make && (error == ENOENT || error == ENOTDIR)) return {};
      throw system_error(error, "cannot open the folder", path());
    }
    at = std::move(next);
    begin = end + 1;
  }
  return at;
}

}  // namespace

FileDescriptor open_file_below(const Folder& root, std::string_view key) {
  const std::size_t slash = key.rfind('/');
  const bool in_root = slash == std::string_view::npos;
  const FileDescriptor folder = walk(root, in_root ? std::string_view() : key.substr(0, slash), false);
  if (!folder) return {};
  const std::string name(in_root ? key : key.substr(slash + 1));
  // O_NONBLOCK: a FIFO in the place of a file must not make us wait.
  FileDescriptor file(::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file) {
    const int error = errno;
    if (error == ENOENT) return {};
    if (error == ELOOP) refuse_link(folder.get(), name, path_below(root, key));
    throw system_error(error, "cannot open", path_below(root, key));
  }
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw system_error(errno, "cannot examine", path_below(root, key));
  if (S_ISDIR(status.st_mode)) return {};
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kRefused, fmt::format("{} is not a regular file", path_below(root, key)));
  }
  return file;
}

FileDescriptor open_folder_below(const Folder& root, std::string_view key) { return walk(root, key, false); }

FileDescriptor make_folder_below(const Folder& root, std::string_view key) { return walk(root, key, true); }

void sync_folder(int descriptor, std::string_view path) {
  if (::fsync(descriptor) != 0) throw system_error(errno, "cannot make durable", path);
}

}  // namespace vmpack
