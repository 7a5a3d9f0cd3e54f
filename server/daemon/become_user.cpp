// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "server/daemon/sandbox.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kEntryBytesMax = 64 * 1024;

struct Identity {
  uid_t user;
  gid_t group;
};

Identity find_user(const std::string& name) {
  std::string buffer(kEntryBytesMax, '\0');
  passwd entry{};
  passwd* found = nullptr;
  ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no user {}", printable(name)),
                "make one with 'useradd --system', or leave --user out");
  }
  return {found->pw_uid, found->pw_gid};
}

}  // namespace

void become_user(const std::string& name) {
  const auto [user, group] = find_user(name);
  if (::geteuid() == user) return;
  if (::geteuid() != 0) {
    throw Error(ErrorCode::kRefused, fmt::format("only root can become the user {}", printable(name)),
                "start vmserve as root, or as that user without --user");
  }
  // The user last: it is what gives the right to change the rest.
  if (::initgroups(name.c_str(), group) != 0 || ::setresgid(group, group, group) != 0 ||
      ::setresuid(user, user, user) != 0) {
    throw system_error(errno, "cannot become the user", name);
  }
}

}  // namespace vmpack
