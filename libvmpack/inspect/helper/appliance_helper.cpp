// SPDX-License-Identifier: Apache-2.0
// vmpack-appliance-helper: has one libguestfs appliance read volumes of an image, and then find operating
// systems and packages. Not for people: ApplianceSession starts it, and ends it together with the appliance,
// which lives in the same process group.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/appliance_wire.hpp"
#include "libvmpack/inspect/helper/guest.hpp"
#include "libvmpack/inspect/helper/guest_systems.hpp"
#include "libvmpack/inspect/helper/guest_volumes.hpp"

namespace {

using namespace vmpack;

void add_image(guestfs_h* handle, int sector_bytes, std::string_view kind, const std::string& where) {
  struct guestfs_add_drive_opts_argv options{};
  options.bitmask = GUESTFS_ADD_DRIVE_OPTS_READONLY_BITMASK | GUESTFS_ADD_DRIVE_OPTS_FORMAT_BITMASK |
                    GUESTFS_ADD_DRIVE_OPTS_LABEL_BITMASK | GUESTFS_ADD_DRIVE_OPTS_BLOCKSIZE_BITMASK;
  options.blocksize = sector_bytes;
  options.readonly = 1;
  options.label = kImageLabel;
  options.format = "raw";
  std::string file = where;
  std::string server;
  std::vector<char*> servers;
  if (kind != appliance_wire::kRaw) {
    server = where;
    file.clear();
    if (const std::size_t slash = where.find('/');
        kind == appliance_wire::kNbdHost && slash != std::string::npos) {
      server = where.substr(0, slash);
      file = where.substr(slash + 1);
    }
    server.insert(0, kind == appliance_wire::kNbdSocket ? "unix:" : "tcp:");
    servers = {server.data(), nullptr};
    options.bitmask |= GUESTFS_ADD_DRIVE_OPTS_PROTOCOL_BITMASK | GUESTFS_ADD_DRIVE_OPTS_SERVER_BITMASK;
    options.protocol = "nbd";
    options.server = servers.data();
  }
  if (guestfs_add_drive_opts_argv(handle, file.c_str(), &options) != 0)
    fail(handle, "cannot attach the image");
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw system_error(errno, "cannot write", "the answer");
  }
}

std::string path_beside(std::string_view program, std::string_view name) {
  return std::filesystem::path(program).replace_filename(name).string();
}

int run(std::span<char*> arguments) {
  if (arguments.size() != 7) {
    std::fputs(
        "usage: vmpack-appliance-helper PARENT-PID TEMPORARY-FOLDER kvm|tcg 512|4096 raw|nbd-socket|nbd-host "
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
  if (std::string_view(arguments[3]) == appliance_wire::kTcg)
    guestfs_set_backend_setting(guest, "force_tcg", "1");
  add_image(guest, std::atoi(arguments[4]), arguments[5], arguments[6]);
  add_scratch_disks(guest, arguments[2]);
  if (guestfs_launch(guest) != 0) fail(guest, "the libguestfs appliance did not start");
  print(appliance_wire::kLaunched);
  const VolumesRequest request = read_request(std::cin);
  if (!request.partitions.empty() || request.logical_volumes) {
    const auto report = read_volumes(guest, request, path_beside(arguments[0], "vmpack-volume-walker"));
    print(fmt::format("{}{}\n", appliance_wire::kVolumes, to_json(report)));
  }
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
