// SPDX-License-Identifier: Apache-2.0
// The system-call filter. A list of what is forbidden: what the libraries of a store need differs between
// versions, and what must not happen does not.
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <array>
#include <cerrno>
#include <memory>
#include <span>

#include "libvmpack/base/error.hpp"
#include "server/daemon/sandbox.hpp"

namespace vmpack {
namespace {

constexpr std::array kNever{
    // programs, and other processes
    "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    "process_madvise", "kcmp", "setns", "unshare",
    // files that are more or less than files
    "mknod", "mknodat", "symlink", "symlinkat", "link", "linkat", "open_by_handle_at", "name_to_handle_at",
    "chroot", "pivot_root", "mount", "umount2", "fsopen", "fsmount", "fsconfig", "fspick", "move_mount",
    "open_tree", "mount_setattr", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct",
    // who may do what with them
    "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr", "removexattr",
    "lremovexattr", "fremovexattr", "chmod", "fchmodat", "fchmodat2",
    // the machine
    "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "add_key", "request_key", "keyctl", "reboot", "settimeofday", "clock_settime",
    "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "iopl", "ioperm", "vhangup", "syslog",
    "personality",
    // a second way to all of the above
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    // more rights
    "setuid", "setgid", "setresuid", "setresgid", "setreuid", "setregid", "setgroups", "setfsuid", "setfsgid",
    "capset"};

/// What changes files by their names; a cache on disk needs it.
constexpr std::array kChangingFiles{"creat", "truncate", "rename",    "renameat",  "renameat2",
                                    "mkdir", "mkdirat",  "rmdir",     "fallocate", "fchmod",
                                    "utime", "utimes",   "futimesat", "utimensat", "ftruncate"};
constexpr std::array kRemovingFiles{"unlink", "unlinkat"};
constexpr std::array kConnecting{"socket", "socketpair", "connect", "bind", "listen"};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW), seccomp_release) {
    if (!context_) throw Error(ErrorCode::kIo, "cannot build the system-call filter");
    check(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1), "all threads");
    // A tree instead of a chain of comparisons; older libraries do not know it, and need not.
    static_cast<void>(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2));
  }

  void forbid(std::span<const char* const> names) {
    for (const char* name : names) {
      const int number = seccomp_syscall_resolve_name(name);
      if (number < 0) continue;  // unknown to this libseccomp or this architecture
      check(seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(EPERM), number, 0), name);
    }
  }
  /// Where all of `bits` are set in the argument.
  void forbid_bits(int number, unsigned argument, std::uint64_t bits, const char* name) {
    const scmp_arg_cmp set{argument, SCMP_CMP_MASKED_EQ, bits, bits};
    check(seccomp_rule_add_array(context_.get(), SCMP_ACT_ERRNO(EPERM), number, 1, &set), name);
  }
  void forbid_clear_bits(int number, unsigned argument, std::uint64_t bits, const char* name) {
    const scmp_arg_cmp clear{argument, SCMP_CMP_MASKED_EQ, bits, 0};
    check(seccomp_rule_add_array(context_.get(), SCMP_ACT_ERRNO(EPERM), number, 1, &clear), name);
  }
  /// As if the kernel were too old for it: its flags are behind a pointer, and callers fall back.
  void hide(int number, const char* name) {
    check(seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(ENOSYS), number, 0), name);
  }
  [[nodiscard]] bool load() { return seccomp_load(context_.get()) == 0; }

 private:
  static void check(int result, const char* what) {
    if (result < 0) throw system_error(-result, "cannot build the system-call filter", what);
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
};

void forbid_opening_for_writing(Filter& filter) {
  for (const int bits : {O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE & ~O_DIRECTORY}) {
    const auto flags = static_cast<std::uint64_t>(bits);
    filter.forbid_bits(SCMP_SYS(open), 1, flags, "open");
    filter.forbid_bits(SCMP_SYS(openat), 2, flags, "openat");
  }
}

/// Threads may be started, processes not; memory is written or executed, never both.
void forbid_new_code(Filter& filter) {
  filter.forbid_clear_bits(SCMP_SYS(clone), 0, CLONE_THREAD, "clone");
  filter.hide(SCMP_SYS(clone3), "clone3");
  filter.forbid_bits(SCMP_SYS(mmap), 2, PROT_WRITE | PROT_EXEC, "mmap");
  filter.forbid_bits(SCMP_SYS(mprotect), 2, PROT_EXEC, "mprotect");
  filter.forbid_bits(SCMP_SYS(pkey_mprotect), 2, PROT_EXEC, "pkey_mprotect");
}

}  // namespace

bool restrict_calls(const SandboxNeeds& needs, bool files_restricted) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  Filter filter;
  filter.forbid(kNever);
  forbid_new_code(filter);
  filter.hide(SCMP_SYS(openat2), "openat2");
  const bool writes = !needs.writable_folders.empty();
  const bool has_own_files = !needs.removable_folders.empty() || !needs.ready_folder.empty();
  const bool removes = writes || (files_restricted && has_own_files);
  if (!writes) {
    forbid_opening_for_writing(filter);
    filter.forbid(kChangingFiles);
  }
  if (!removes) filter.forbid(kRemovingFiles);
  if (!needs.network) filter.forbid(kConnecting);
  return filter.load();
}

}  // namespace vmpack
