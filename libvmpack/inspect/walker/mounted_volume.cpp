// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/mounted_volume.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

struct Option {
  const char* key;
  const char* value;  ///< nullptr: a flag
};

/// Why the kernel refused, in its own words where it has some.
Error refusal(int context, int error_number) {
  std::array<char, 256> message{};
  const ssize_t got = ::read(context, message.data(), message.size());
  std::string_view reason(message.data(), got > 2 ? static_cast<std::size_t>(got) : 0);
  if (reason.starts_with("e ")) {
    reason.remove_prefix(2);
    reason = reason.substr(0, reason.find('\n'));
    return {ErrorCode::kDamaged, fmt::format("the kernel refuses to mount it: {}", printable(reason))};
  }
  return {ErrorCode::kDamaged,
          fmt::format("the kernel refuses to mount it: {}", std::generic_category().message(error_number))};
}

/// A mount on no folder. Throws Error.
FileDescriptor mount_detached(const BlockDevice& device, const char* driver,
                              const std::vector<Option>& options) {
  const FileDescriptor context(::fsopen(driver, FSOPEN_CLOEXEC));
  if (!context) {
    if (errno == ENODEV)
      throw Error(ErrorCode::kUnsupported, fmt::format("this kernel does not know {}", driver));
    throw system_error(errno, "cannot mount", device.path());
  }
  const auto configure = [&](unsigned command, const char* key, const char* value) {
    if (::fsconfig(context.get(), command, key, value, 0) != 0) throw refusal(context.get(), errno);
  };
  configure(FSCONFIG_SET_STRING, "source", device.path().c_str());
  configure(FSCONFIG_SET_FLAG, "ro", nullptr);
  for (const Option& option : options) {
    configure(option.value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, option.key, option.value);
  }
  configure(FSCONFIG_CMD_CREATE, nullptr, nullptr);
  constexpr unsigned kAttributes =
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
  FileDescriptor mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, kAttributes));
  if (!mount) throw refusal(context.get(), errno);
  return mount;
}

}  // namespace

MountedVolume::MountedVolume(const BlockDevice& device, std::string_view type) {
  if (type == "xfs") {
    try {
      // On a read-only device this succeeds only where there is nothing to replay.
      mount_ = mount_detached(device, "xfs", {{"nouuid", nullptr}});
    } catch (const Error&) {
      mount_ = mount_detached(device, "xfs", {{"nouuid", nullptr}, {"norecovery", nullptr}});
      log_is_dirty_ = true;
    }
  } else if (type == "btrfs") {
    mount_ = mount_detached(device, "btrfs", {{"subvolid", "5"}, {"rescue", "nologreplay"}});
  } else {
    mount_ = mount_detached(device, "ext4", {{"noload", nullptr}});  // it knows ext2 and ext3 as well
  }
  root_ = FileDescriptor(::openat(mount_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_) throw system_error(errno, "cannot read", "its root directory");
}

}  // namespace vmpack
