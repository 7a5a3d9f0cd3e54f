// SPDX-License-Identifier: Apache-2.0
#include "tests/support/small_file_system.hpp"

#include <fmt/core.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "libvmpack/base/error.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

// Once for the test program: from here on, its mounts are its own.
bool enter_own_namespace() {
  static const bool entered = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                              ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return entered;
}

}  // namespace

bool SmallFileSystem::possible() {
  static const bool mounted = [] {
    if (!enter_own_namespace()) return false;
    const TempDir folder;
    if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) return false;
    ::umount2(folder.path().c_str(), MNT_DETACH);
    return true;
  }();
  return mounted;
}

SmallFileSystem::SmallFileSystem(Kind kind, std::uint64_t bytes) {
  if (!enter_own_namespace()) throw Error(ErrorCode::kRefused, "mounting a file system takes root");
  std::filesystem::create_directory(path());
  if (kind == Kind::kTmpfs) {
    if (::mount("tmpfs", path().c_str(), "tmpfs", 0, fmt::format("size={}", bytes).c_str()) != 0) {
      throw system_error(errno, "cannot mount a tmpfs on", path());
    }
    return;
  }
  const std::string image = folder_ / "image";
  run_or_throw({"truncate", "-s", std::to_string(bytes), image});
  run_or_throw({"mke2fs", "-q", "-t", "ext4", "-m", "0", image});
  run_or_throw({"mount", "-o", "loop", image, path()});
}

SmallFileSystem::~SmallFileSystem() { ::umount2(path().c_str(), MNT_DETACH); }

void SmallFileSystem::make_read_only() {
  if (::mount(nullptr, path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    throw system_error(errno, "cannot make read-only", path());
  }
}

}  // namespace vmpack::test
