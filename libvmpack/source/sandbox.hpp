// SPDX-License-Identifier: Apache-2.0
// Starts a program that may be taken over by the hostile image it parses, so that this gains nothing: no
// files but the ones it was given, no network, no privileges, bounded memory and time, and it dies with us.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// What a sandboxed program may see and use. docs/decisions/0003-sandbox.md says how each line is enforced.
struct SandboxPolicy {
  /// Absolute paths of files, folders and block devices that the program sees, read-only, under these names.
  /// The program itself and the system's program folders (/usr, /lib*, /bin, /sbin) are always visible,
  /// nothing else is.
  std::vector<std::string> readable_paths;
  /// Lets the program read files of `readable_paths` whatever their owner and mode. Only has a meaning for
  /// root, whose children otherwise run as "nobody" and can only read what everybody can.
  bool read_any_file = false;
  /// Leaves the host's network in place.
  bool network = false;
  /// 0: no limit. Not enforced in sanitizer builds, whose shadow memory alone takes terabytes of addresses.
  std::uint64_t address_space_bytes = 2 * kGiB;
  /// Processor time after which the kernel kills it; 0: no limit.
  std::uint64_t cpu_seconds = 600;
  std::uint64_t open_files = 256;
  /// "NAME=value". Nothing is inherited; PATH and LC_ALL=C are always set.
  std::vector<std::string> environment;
  /// How many of the program's descriptors from 3 on are listening sockets (LISTEN_FDS of systemd's socket
  /// activation).
  unsigned listen_fds = 0;
};

/// The caller's `parent_fd` becomes `child_fd` in the program; the caller keeps its own. No other descriptor
/// is passed. Standard input and output are /dev/null unless mapped; standard error is captured unless
/// mapped.
struct FdMapping {
  int parent_fd;
  int child_fd;
};

/// How much of the sandbox this system allows. Every level has the limits, no new privileges and the
/// system-call filter.
enum class SandboxLevel : std::uint8_t {
  kPrivileged,     ///< root: namespaces of its own, and another user
  kUserNamespace,  ///< not root: the same files and network, through a user namespace
  kLimitsOnly,     ///< namespaces are forbidden here (a container, a hardened kernel): files stay visible
};

struct ExitStatus {
  int code = 0;    ///< exit code, when `signal` is 0
  int signal = 0;  ///< the signal that ended it, or 0

  [[nodiscard]] bool success() const { return code == 0 && signal == 0; }
  /// "exit code 1", "signal 9 (Killed)".
  [[nodiscard]] std::string describe() const;
};

/// A running program and what it says on standard error. Destruction kills it and waits for its end; it also
/// dies when this process does, however that ends. Methods may be called from any thread, by several at once.
class Child {
 public:
  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;
  ~Child();

  [[nodiscard]] pid_t pid() const;
  [[nodiscard]] SandboxLevel level() const;
  /// Waits for the end; nullopt when the program still runs after `timeout`. Can be asked again.
  [[nodiscard]] std::optional<ExitStatus> wait_for(std::chrono::milliseconds timeout);
  [[nodiscard]] bool running() { return !wait_for(std::chrono::milliseconds(0)); }
  /// SIGKILL; returns at once.
  void kill();
  /// The end of what it wrote to standard error so far (the last kStderrBytesMax bytes). Complete once it has
  /// ended.
  [[nodiscard]] std::string stderr_text() const;
  /// The last line of that which is not blank, safe to show on a terminal; empty if there is none.
  [[nodiscard]] std::string stderr_last_line() const;

  static constexpr std::size_t kStderrBytesMax = 64 * kKiB;

 private:
  friend Child spawn_sandboxed(const std::vector<std::string>&, const SandboxPolicy&,
                               std::span<const FdMapping>);
  class Keeper;
  explicit Child(std::unique_ptr<Keeper> keeper);
  std::unique_ptr<Keeper> keeper_;
};

/// Starts argv[0], an absolute path, and returns once it runs (has been exec'ed). Throws Error: kNotFound
/// when the program or a readable path is not there, kIo when it cannot be started. May be called from any
/// thread.
[[nodiscard]] Child spawn_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                                    std::span<const FdMapping> fds = {});

struct ToolOutput {
  ExitStatus status;
  std::string out;
  std::string err;         ///< the end of standard error, as Child::stderr_text()
  std::string error_line;  ///< its last line
};

/// Takes the standard output piece by piece. What it throws ends the program and goes to the caller.
using OutputSink = std::function<void(std::string_view)>;

/// Runs a program to its end and hands its standard output to `sink`; `out` of the result stays empty. `fds`
/// are further descriptors for it. Throws Error: what spawn_sandboxed() throws, kIo when it does not end
/// before `timeout`.
[[nodiscard]] ToolOutput run_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                                       const OutputSink& sink, std::chrono::milliseconds timeout,
                                       std::span<const FdMapping> fds = {});
/// Collects the output instead; also throws kLimit when that is more than `output_bytes_max`.
[[nodiscard]] ToolOutput run_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                                       std::size_t output_bytes_max, std::chrono::milliseconds timeout,
                                       std::span<const FdMapping> fds = {});

/// Path of one of our own helper programs: in $VMPACK_HELPER_DIR, in ../libexec/vmpack beside this program,
/// in the build tree, or where it was installed. Throws Error (kNotFound) that says where it looked.
[[nodiscard]] std::string find_helper(std::string_view name);

/// Path of a system program ("qemu-nbd") in $PATH or the usual folders. Throws Error (kNotFound) whose hint
/// names `package`.
[[nodiscard]] std::string find_program(std::string_view name, std::string_view package);

}  // namespace vmpack
