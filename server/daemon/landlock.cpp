// SPDX-License-Identifier: Apache-2.0
// Landlock has no library: these are its three system calls (Documentation/userspace-api/landlock.rst).
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "server/daemon/sandbox.hpp"

namespace vmpack {
namespace {

// Newer than Debian 12's header: version 3 of the interface.
constexpr std::uint64_t kTruncate = 1ULL << 14U;
constexpr std::uint64_t kRemove = LANDLOCK_ACCESS_FS_REMOVE_FILE;
constexpr std::uint64_t kWrite =
    LANDLOCK_ACCESS_FS_WRITE_FILE | kRemove | LANDLOCK_ACCESS_FS_MAKE_REG | kTruncate;
/// Of a folder whose tree is the server's own.
constexpr std::uint64_t kWriteTree =
    kWrite | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t kEverything = kWriteTree | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                      LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                      LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

/// The part of `rights` that this version of the interface knows.
std::uint64_t known_rights(std::uint64_t rights, long version) {
  if (version < 2) rights &= ~static_cast<std::uint64_t>(LANDLOCK_ACCESS_FS_REFER);
  if (version < 3) rights &= ~kTruncate;
  return rights;
}

void allow(const FileDescriptor& rules, const std::string& folder, std::uint64_t rights) {
  const auto opened = FileDescriptor::open(folder, O_PATH | O_DIRECTORY);
  landlock_path_beneath_attr rule{};
  rule.allowed_access = rights;
  rule.parent_fd = opened.get();
  if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    throw system_error(errno, "cannot keep the right to change", folder);
}

}  // namespace

bool restrict_files(const SandboxNeeds& needs) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return false;
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = known_rights(kEverything, version);
  const FileDescriptor rules(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!rules) return false;
  for (const auto& folder : needs.writable_folders) allow(rules, folder, known_rights(kWriteTree, version));
  for (const auto& folder : needs.removable_folders) allow(rules, folder, kRemove);
  if (!needs.ready_folder.empty()) allow(rules, needs.ready_folder, known_rights(kWrite, version));
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0;
}

}  // namespace vmpack
