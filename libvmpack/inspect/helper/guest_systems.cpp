// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/guest_systems.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "libvmpack/inspect/helper/guest_volumes.hpp"

namespace vmpack {
namespace {

/// "12", "12.5", and "22.04" where a minor version has two digits.
std::string version_of(guestfs_h* handle, const char* root, std::string_view distribution) {
  const int major = guestfs_inspect_get_major_version(handle, root);
  const int minor = guestfs_inspect_get_minor_version(handle, root);
  if (major < 0 || (major == 0 && minor <= 0)) return {};
  if (distribution == "ubuntu") return fmt::format("{}.{:02}", major, std::max(minor, 0));
  return minor > 0 ? fmt::format("{}.{}", major, minor) : std::to_string(major);
}

/// Best effort: packages need "/" and "/usr" or "/var", not everything that /etc/fstab names.
void mount_all(guestfs_h* handle, const char* root) {
  const Strings pairs(guestfs_inspect_get_mountpoints(handle, root));
  std::vector<std::pair<std::string, std::string>> mounts;
  for (std::size_t i = 0; i + 1 < pairs.texts().size(); i += 2)
    mounts.emplace_back(pairs.texts()[i], pairs.texts()[i + 1]);
  std::ranges::sort(mounts);  // a folder before what lies below it
  for (const auto& [folder, device] : mounts) guestfs_mount_ro(handle, device.c_str(), folder.c_str());
}

std::string package_version(const guestfs_application2& package) {
  std::string version = package.app2_version;
  if (package.app2_epoch > 0) version = fmt::format("{}:{}", package.app2_epoch, version);
  if (package.app2_release != nullptr && *package.app2_release != '\0') {
    version = fmt::format("{}-{}", version, package.app2_release);
  }
  return version;
}

/// PRETTY_NAME of the mounted system's os-release(5); libguestfs's own product name is "12.5" for Debian.
std::string pretty_name(guestfs_h* handle) {
  constexpr int kBytesMax = 64 * 1024;
  std::size_t length = 0;
  const OwnedText file(guestfs_pread(handle, "/etc/os-release", kBytesMax, 0, &length), &std::free);
  if (file == nullptr) return {};
  const std::string text = "\n" + std::string(file.get(), length);
  constexpr std::string_view kKey = "\nPRETTY_NAME=";
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return {};
  std::string value = text.substr(at + kKey.size());
  value.resize(std::min(value.find('\n'), value.size()));
  std::erase_if(value, [](char c) { return c == '"' || c == '\''; });
  return value;
}

/// Of the mounted system.
std::vector<Package> packages_of(guestfs_h* handle, const char* root) {
  std::vector<Package> packages;
  const std::unique_ptr<guestfs_application2_list, decltype(&guestfs_free_application2_list)> list(
      guestfs_inspect_list_applications2(handle, root), &guestfs_free_application2_list);
  if (list != nullptr) {
    for (const guestfs_application2& package : std::span(list->val, list->len)) {
      packages.push_back({package.app2_name, package_version(package), package.app2_arch});
    }
  }
  return packages;
}

}  // namespace

OsFacts inspect_systems(guestfs_h* handle) {
  OsFacts facts;
  char** found = guestfs_inspect_os(handle);
  if (found == nullptr) fail(handle, "cannot look for operating systems");
  const Strings roots(found);
  for (const char* root : roots.texts()) {
    if (is_scratch_disk(root)) continue;  // what the walker wrote may look like anything
    OperatingSystem system;
    system.root = root;
    system.type = take(guestfs_inspect_get_type(handle, root));
    system.distribution = take(guestfs_inspect_get_distro(handle, root));
    system.product_name = take(guestfs_inspect_get_product_name(handle, root));
    system.version = version_of(handle, root, system.distribution);
    system.architecture = take(guestfs_inspect_get_arch(handle, root));
    system.hostname = take(guestfs_inspect_get_hostname(handle, root));
    system.package_format = take(guestfs_inspect_get_package_format(handle, root));
    mount_all(handle, root);
    if (std::string name = pretty_name(handle); !name.empty()) system.product_name = std::move(name);
    system.packages = packages_of(handle, root);
    guestfs_umount_all(handle);
    facts.systems.push_back(std::move(system));
  }
  return facts;
}

}  // namespace vmpack
