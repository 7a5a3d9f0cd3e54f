// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <span>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/kvm_verdict.hpp"
#include "libvmpack/source/sandbox.hpp"
#include "tools/doctor/check.hpp"

namespace vmpack::cli::doctor {
namespace {

constexpr const char* kDevice = "/dev/kvm";
constexpr std::chrono::seconds kPatience{15};
constexpr std::chrono::milliseconds kPoll{20};

// A boot sector that writes to the port of QEMU's isa-debug-exit, which ends QEMU with (0x10 << 1) | 1.
constexpr int kExitCode = 33;
constexpr std::array<unsigned char, 7> kCode = {0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
constexpr std::size_t kSectorBytes = 512;

/// A file without a name that holds the sector; a child has it under the same number.
FileDescriptor boot_sector() {
  FileDescriptor file(::memfd_create("vmpack-boot", 0));
  if (!file) throw system_error(errno, "cannot make", "a boot sector");
  std::array<unsigned char, kSectorBytes> sector{};
  std::ranges::copy(kCode, sector.begin());
  sector[kSectorBytes - 2] = 0x55;
  sector[kSectorBytes - 1] = 0xaa;
  write_at(file.get(), std::as_bytes(std::span(sector)), 0, "a boot sector");
  return file;
}

/// The exit code; 128 and the signal's number when one ended it; nullopt when it took longer, and was killed.
std::optional<int> run_with_patience(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t quiet{};
  ::posix_spawn_file_actions_init(&quiet);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    ::posix_spawn_file_actions_addopen(&quiet, stream, "/dev/null", O_RDWR, 0);
  pid_t child = -1;
  const int failed = ::posix_spawn(&child, arguments[0], &quiet, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&quiet);
  if (failed != 0) throw system_error(failed, "cannot start", command.front());
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return std::nullopt;
    }
    std::this_thread::sleep_for(kPoll);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// With the processor that boot lines ask for: a host may run machines of an older kind, and abort with its
/// own. Empty when a machine ran and ended as it should.
std::string fault_of_kvm() {
  const FileDescriptor sector = boot_sector();
  const auto code =
      run_with_patience({find_program("qemu-system-x86_64", "qemu-system-x86"), "-accel", "kvm", "-cpu",
                         "host", "-machine", "pc", "-m", "64", "-nodefaults", "-display", "none",
                         "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive",
                         fmt::format("file=/proc/self/fd/{},format=raw,if=ide", sector.get())});
  if (!code) return fmt::format("a machine did not end within {} s", kPatience.count());
  if (*code != kExitCode) return fmt::format("QEMU with KVM ended with exit code {}", *code);
  return {};
}

}  // namespace

Check check_kvm() {
  Check check{.name = "KVM"};
  try {
    if (::access(kDevice, R_OK | W_OK) != 0) {
      check.found = system_error(errno, "cannot open", kDevice).what();
    } else if (check.found = fault_of_kvm(); check.found.empty()) {
      check.found = "a machine ran";
      return check;
    } else {
      remember_broken_kvm();
    }
  } catch (const Error& error) {
    check.found = error.what();
  }
  check.verdict = Verdict::kWarning;
  check.advice = "machines run emulated, many times slower: allow nested virtualisation, or the group kvm";
  return check;
}

}  // namespace vmpack::cli::doctor
