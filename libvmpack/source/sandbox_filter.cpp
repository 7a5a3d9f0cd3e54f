// SPDX-License-Identifier: Apache-2.0
// The system-call filter. A list of what is forbidden, since qemu-nbd's own needs differ between versions; a
// helper of ours puts a stricter one of its own on top.
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/source/sandbox_child.hpp"

namespace vmpack::sandbox {
namespace {

// open_by_handle_at comes first for a reason: with CAP_DAC_READ_SEARCH it opens any file of a file system by
// number, past every mount namespace.
constexpr std::array kForbidden{
    "open_by_handle_at",
    "name_to_handle_at",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "setns",
    "unshare",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "add_key",
    "request_key",
    "keyctl",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "iopl",
    "ioperm",
    "vhangup",
    "syslog",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "mknod",
    "mknodat",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "setreuid",
    "setregid",
    "setgroups",
    "capset",
};

constexpr unsigned long kNamespaceFlags =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

void check(int result, const char* what) {
  if (result < 0) throw system_error(-result, "cannot build the system-call filter", what);
}

}  // namespace

std::vector<sock_filter> make_filter(bool network) {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> context(seccomp_init(SCMP_ACT_ALLOW),
                                                                 seccomp_release);
  if (!context) throw Error(ErrorCode::kIo, "cannot build the system-call filter: seccomp_init failed");
  // A tree instead of a chain of comparisons; older libraries do not know it, and need not.
  static_cast<void>(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2));
  for (const char* name : kForbidden) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) continue;  // unknown to this libseccomp or this architecture
    check(seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), number, 0), name);
  }
  for (unsigned long bit = 1; bit != 0 && bit <= kNamespaceFlags; bit <<= 1U) {
    if ((kNamespaceFlags & bit) == 0) continue;
    check(seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                           SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit)),
          "clone");
  }
  // Its flags are behind a pointer, out of a filter's sight; the C library falls back to clone().
  check(seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), "clone3");
  if (!network) {
    check(seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                           SCMP_A0(SCMP_CMP_NE, AF_UNIX)),
          "socket");
  }

  const FileDescriptor memory(::memfd_create("vmpack-filter", MFD_CLOEXEC));
  if (!memory) throw system_error(errno, "cannot build", "the system-call filter");
  check(seccomp_export_bpf(context.get(), memory.get()), "export");
  const off_t bytes = ::lseek(memory.get(), 0, SEEK_END);
  VMPACK_ASSERT(bytes > 0 && static_cast<std::size_t>(bytes) % sizeof(sock_filter) == 0);
  std::vector<sock_filter> filter(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  const std::size_t got = read_at(memory.get(), std::as_writable_bytes(std::span(filter)), 0, "the filter");
  VMPACK_ASSERT(got == static_cast<std::size_t>(bytes));
  return filter;
}

}  // namespace vmpack::sandbox
