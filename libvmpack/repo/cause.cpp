// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/cause.hpp"

#include <algorithm>
#include <array>

namespace vmpack {
namespace {

struct CauseText {
  std::string_view key;
  std::string_view description;
};

constexpr std::array<CauseText, kCauseCount> kTexts = {{
    {"new-package-version", "new package versions"},
    {"rebuilt-initrd", "rebuilt initial RAM disks"},
    {"kernel", "kernels and modules"},
    {"package-database", "package databases"},
    {"cache", "caches"},
    {"log", "logs"},
    {"identifier", "identifiers and keys"},
    {"settings", "settings below /etc"},
    {"changed", "other changed files"},
    {"added", "added files"},
    {"swap", "swap space"},
    {"residue", "residue in free blocks"},
    {"fs-metadata", "file-system metadata"},
    {"boot-area", "boot areas, partition tables"},
    {"opaque", "unreadable volumes"},
    {"same-content", "same files, stored again"},
}};

/// Where a file lies. Each part that is not empty must fit: `folder` begins the path, `name` begins the
/// file's name, `end` ends it.
struct PathRule {
  Cause cause;
  std::string_view folder;
  std::string_view name;
  std::string_view end;
};

// The first rule that fits decides, so what is special stands before what is general. A volume mounted on
// /boot has its files at its root.
constexpr auto kPathRules = std::to_array<PathRule>({
    {Cause::kInitrd, "/", "initrd", {}},
    {Cause::kInitrd, "/", "initramfs", {}},
    {Cause::kKernel, "/", "vmlinuz", {}},
    {Cause::kKernel, "/boot/", "System.map", {}},
    {Cause::kKernel, "/boot/", "config-", {}},
    {Cause::kCache, "/usr/lib/modules/", "modules.", {}},  // depmod's
    {Cause::kCache, "/lib/modules/", "modules.", {}},
    {Cause::kKernel, "/usr/lib/modules/", {}, {}},
    {Cause::kKernel, "/lib/modules/", {}, {}},

    {Cause::kCache, "/var/cache/", {}, {}},
    {Cause::kCache, "/var/lib/apt/lists/", {}, {}},
    {Cause::kCache, "/var/lib/dnf/", {}, {}},
    {Cause::kCache, "/var/tmp/", {}, {}},
    {Cause::kCache, "/tmp/", {}, {}},
    {Cause::kCache, "/root/.cache/", {}, {}},
    {Cause::kCache, "/etc/", "ld.so.cache", {}},
    {Cause::kCache, "/usr/", "gschemas.compiled", {}},
    {Cause::kCache, "/usr/", "icon-theme.cache", {}},
    {Cause::kCache, "/usr/", "mimeinfo.cache", {}},
    {Cause::kCache, "/usr/lib/locale/", "locale-archive", {}},
    {Cause::kCache, "/usr/lib/udev/", "hwdb.bin", {}},
    {Cause::kCache, "/etc/udev/", "hwdb.bin", {}},
    {Cause::kCache, "/var/lib/systemd/catalog/", {}, {}},
    {Cause::kCache, {}, {}, ".pyc"},

    {Cause::kLog, "/var/log/", {}, {}},
    {Cause::kLog, "/Windows/Logs/", {}, {}},
    {Cause::kLog, "/Windows/System32/winevt/Logs/", {}, {}},

    {Cause::kPackageDatabase, "/var/lib/dpkg/", {}, {}},
    {Cause::kPackageDatabase, "/var/lib/apt/", {}, {}},
    {Cause::kPackageDatabase, "/var/lib/rpm/", {}, {}},
    {Cause::kPackageDatabase, "/usr/lib/sysimage/rpm/", {}, {}},
    {Cause::kPackageDatabase, "/var/lib/pacman/", {}, {}},
    {Cause::kPackageDatabase, "/lib/apk/db/", {}, {}},

    {Cause::kIdentifier, "/etc/", "machine-id", {}},
    {Cause::kIdentifier, "/var/lib/dbus/", "machine-id", {}},
    {Cause::kIdentifier, "/etc/ssh/", "ssh_host_", {}},
    {Cause::kIdentifier, "/etc/ssl/private/", {}, {}},
    {Cause::kIdentifier, "/etc/", "fstab", {}},
    {Cause::kIdentifier, "/etc/", "crypttab", {}},
    {Cause::kIdentifier, "/etc/", "hostname", {}},
    {Cause::kIdentifier, "/var/lib/systemd/", "random-seed", {}},
    {Cause::kIdentifier, "/var/lib/systemd/", "credential.secret", {}},
    {Cause::kIdentifier, "/boot/", "grub.cfg", {}},  // names file systems by UUID
    {Cause::kIdentifier, "/grub/", "grub.cfg", {}},
    {Cause::kIdentifier, "/boot/", "grubenv", {}},
    {Cause::kIdentifier, "/boot/loader/", {}, ".conf"},
    {Cause::kIdentifier, "/loader/", {}, ".conf"},

    {Cause::kSwap, "/", "pagefile.sys", {}},
    {Cause::kSwap, "/", "swapfile", {}},
    {Cause::kSwap, "/", "swap.img", {}},
    {Cause::kSwap, "/", "hiberfil.sys", {}},
});

constexpr auto kPackageFolders = std::to_array<std::string_view>(
    {"/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/opt/", "/boot/"});
constexpr std::string_view kNoPackageFolder = "/usr/local/";

/// Files right in the root or in /boot, for rules on "/": a name alone says nothing deeper down.
bool is_boot_or_root(std::string_view folder) { return folder == "/" || folder == "/boot/"; }

bool fits(const PathRule& rule, std::string_view path) {
  const std::string_view folder = path.substr(0, path.rfind('/') + 1);
  const std::string_view name = path.substr(folder.size());
  const bool in_folder = rule.folder == "/" ? is_boot_or_root(folder) : folder.starts_with(rule.folder);
  return in_folder && name.starts_with(rule.name) && name.ends_with(rule.end);
}

}  // namespace

std::string_view to_string(Cause cause) { return kTexts[static_cast<std::size_t>(cause)].key; }
std::string_view describe(Cause cause) { return kTexts[static_cast<std::size_t>(cause)].description; }

bool is_package_folder(std::string_view path) {
  return !path.starts_with(kNoPackageFolder) &&
         std::ranges::any_of(kPackageFolders,
                             [&](std::string_view folder) { return path.starts_with(folder); });
}

Cause cause_of_file(const FileEvidence& evidence) {
  if (evidence.same_content) return Cause::kSameContent;
  const auto rule =
      std::ranges::find_if(kPathRules, [&](const PathRule& one) { return fits(one, evidence.path); });
  if (rule != kPathRules.end()) return rule->cause;
  const bool replaced = evidence.in_both ? evidence.from_archive : evidence.other_version;
  if (replaced && !evidence.packages_stay && is_package_folder(evidence.path)) return Cause::kPackage;
  if (evidence.path.starts_with("/etc/")) return Cause::kSettings;
  return evidence.in_both ? Cause::kChanged : Cause::kAdded;
}

}  // namespace vmpack
