// SPDX-License-Identifier: Apache-2.0
// vmpack-os-helper: finds operating systems and packages on an image with libguestfs and prints them as JSON.
// Not for people: OsInspection starts it, and ends it together with the appliance, which lives in the same
// process group.
#include <fmt/core.h>
#include <guestfs.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/inspect/os_wire.hpp"

namespace {

using namespace vmpack;

struct CloseHandle {
  void operator()(guestfs_h* handle) const { guestfs_close(handle); }
};
using Handle = std::unique_ptr<guestfs_h, CloseHandle>;

/// A list of strings that libguestfs gave us; empty also where the call failed.
class Strings {
 public:
  explicit Strings(char** list) : list_(list) {
    for (char** at = list_; at != nullptr && *at != nullptr; ++at) ++count_;
  }
  ~Strings() {
    for (char* text : texts()) std::free(text);
    std::free(list_);
  }
  Strings(const Strings&) = delete;
  Strings& operator=(const Strings&) = delete;

  [[nodiscard]] std::span<char* const> texts() const { return {list_, count_}; }

 private:
  char** list_;
  std::size_t count_ = 0;
};

/// Takes a string that libguestfs gave us. "unknown" is its word for nothing.
std::string take(char* text) {
  const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
  if (text == nullptr || std::string_view(text) == "unknown") return {};
  return text;
}

/// libguestfs adds advice on how to debug it behind the first line.
[[noreturn]] void fail(guestfs_h* handle, std::string_view doing) {
  const char* last = guestfs_last_error(handle);
  std::string_view reason = last == nullptr ? "unknown error" : last;
  reason = reason.substr(0, reason.find('\n'));
  throw Error(ErrorCode::kIo, fmt::format("{}: {}", doing, reason));
}

void add_image(guestfs_h* handle, std::string_view kind, const std::string& where) {
  struct guestfs_add_drive_opts_argv options{};
  options.bitmask = GUESTFS_ADD_DRIVE_OPTS_READONLY_BITMASK | GUESTFS_ADD_DRIVE_OPTS_FORMAT_BITMASK;
  options.readonly = 1;
  options.format = "raw";
  std::string file = where;
  std::string server;
  std::vector<char*> servers;
  if (kind != os_wire::kRaw) {
    server = where;
    file.clear();
    if (const std::size_t slash = where.find('/'); kind == os_wire::kNbdHost && slash != std::string::npos) {
      server = where.substr(0, slash);
      file = where.substr(slash + 1);
    }
    server.insert(0, kind == os_wire::kNbdSocket ? "unix:" : "tcp:");
    servers = {server.data(), nullptr};
    options.bitmask |= GUESTFS_ADD_DRIVE_OPTS_PROTOCOL_BITMASK | GUESTFS_ADD_DRIVE_OPTS_SERVER_BITMASK;
    options.protocol = "nbd";
    options.server = servers.data();
  }
  if (guestfs_add_drive_opts_argv(handle, file.c_str(), &options) != 0)
    fail(handle, "cannot attach the image");
}

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
  const std::unique_ptr<char, decltype(&std::free)> file(
      guestfs_pread(handle, "/etc/os-release", kBytesMax, 0, &length), &std::free);
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

OsFacts inspect_systems(guestfs_h* handle) {
  OsFacts facts;
  char** found = guestfs_inspect_os(handle);
  if (found == nullptr) fail(handle, "cannot look for operating systems");
  const Strings roots(found);
  for (const char* root : roots.texts()) {
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

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw system_error(errno, "cannot write", "the answer");
  }
}

int run(std::span<char*> arguments) {
  if (arguments.size() != 6) {
    std::fputs(
        "usage: vmpack-os-helper PARENT-PID TEMPORARY-FOLDER kvm|tcg raw|nbd-socket|nbd-host "
        "PATH|HOST:PORT/EXPORT\n"
        "Started by vmpack.\n",
        stderr);
    return 2;
  }
  // Whoever started us may have died before this line took effect.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (std::to_string(::getppid()) != arguments[1]) return 1;

  const Handle handle(guestfs_create());
  if (!handle) throw system_error(errno, "cannot start", "libguestfs");
  guestfs_h* guest = handle.get();
  guestfs_set_error_handler(guest, nullptr, nullptr);
  if (guestfs_set_backend(guest, "direct") != 0) fail(guest, "cannot start libguestfs");
  guestfs_set_tmpdir(guest, arguments[2]);
  if (std::string_view(arguments[3]) == os_wire::kTcg) guestfs_set_backend_setting(guest, "force_tcg", "1");
  add_image(guest, arguments[4], arguments[5]);
  if (guestfs_launch(guest) != 0) fail(guest, "the libguestfs appliance did not start");
  print(os_wire::kLaunched);
  print(to_json(inspect_systems(guest)));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(std::span(arguments, static_cast<std::size_t>(count)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
