// SPDX-License-Identifier: Apache-2.0
// Only async-signal-safe calls here: the parent has threads, whose locks the child inherits as they were.
//
// Order matters. Host files are opened before the new root hides them, descriptors are placed after the last
// one was opened, users change before PR_SET_PDEATHSIG (a change of user clears it), and the filter comes
// last because it forbids most of what stands before it.
#include "libvmpack/source/sandbox_child.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace vmpack::sandbox {
namespace {

constexpr unsigned kNobody = 65534;
// Always there, and nothing below it is needed once the host's files are open.
constexpr const char* kNewRoot = "/proc";

[[noreturn]] void fail(const Plan& plan, Step step, int index = -1) noexcept {
  const Failure failure{step, errno, index};
  static_cast<void>(!::write(plan.status_descriptor, &failure, sizeof(failure)));
  ::_exit(127);
}

void write_proc(const Plan& plan, const char* path, const char* text, std::size_t length) noexcept {
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0 || ::write(file, text, length) != static_cast<ssize_t>(length)) fail(plan, Step::kIdentityMap);
  ::close(file);
}

void map_identity(const Plan& plan) noexcept {
  write_proc(plan, "/proc/self/setgroups", "deny", 4);
  write_proc(plan, "/proc/self/uid_map", plan.uid_map.data(), plan.uid_map.size());
  write_proc(plan, "/proc/self/gid_map", plan.gid_map.data(), plan.gid_map.size());
}

// Refuses symbolic links all along the path: the parent checked where this path leads, and a link put there
// since then must not lead anywhere else.
int open_host_tree(const Tree& tree) noexcept {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  const int file = static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, tree.path.c_str(), &how, sizeof(how)));
  if (file < 0) return -1;
  const unsigned recursive = tree.folder ? AT_RECURSIVE : 0;
  const int opened = ::open_tree(file, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
  const int error_number = errno;
  ::close(file);
  if (opened < 0) {
    errno = error_number;
    return -1;
  }
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  if (!tree.device) attributes.attr_set |= MOUNT_ATTR_NODEV;
  if (!tree.executable) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
  if (::mount_setattr(opened, "", AT_EMPTY_PATH | recursive, &attributes, sizeof(attributes)) < 0) return -1;
  return opened;
}

void build_root(const Plan& plan) noexcept {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) fail(plan, Step::kPrivateMounts);
  for (std::size_t i = 0; i < plan.trees.size(); ++i) {
    plan.tree_descriptors[i] = open_host_tree(plan.trees[i]);
    if (plan.tree_descriptors[i] < 0 && !plan.trees[i].optional) {
      fail(plan, Step::kOpenTree, static_cast<int>(i));
    }
  }
  if (::mount("vmpack", kNewRoot, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=1m") < 0 ||
      ::chdir(kNewRoot) < 0) {
    fail(plan, Step::kNewRoot);
  }
  for (std::size_t i = 0; i < plan.trees.size(); ++i) {
    const Tree& tree = plan.trees[i];
    if (plan.tree_descriptors[i] < 0) continue;
    const int index = static_cast<int>(i);
    for (const std::string& folder : tree.new_folders) {
      // Below a folder that is visible already, what is to be made exists, and making it fails in some way.
      if (::mkdir(folder.c_str(), 0755) < 0 && ::access(folder.c_str(), F_OK) < 0) {
        fail(plan, Step::kMakePath, index);
      }
    }
    const char* target = tree.path.c_str() + 1;
    if (tree.folder ? ::mkdir(target, 0755) < 0 : ::mknod(target, S_IFREG | 0444, 0) < 0) {
      if (::access(target, F_OK) < 0) fail(plan, Step::kMakePath, index);
    }
    if (::move_mount(plan.tree_descriptors[i], "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
      fail(plan, Step::kAttachTree, index);
    }
    ::close(plan.tree_descriptors[i]);
  }
  for (const Link& link : plan.links) {
    if (::symlink(link.target.c_str(), link.name.c_str()) < 0) fail(plan, Step::kMakePath);
  }
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  // The second "." puts the old root on top of the new one, from where it is taken away.
  if (::mount_setattr(AT_FDCWD, ".", 0, &attributes, sizeof(attributes)) < 0 ||
      ::syscall(SYS_pivot_root, ".", ".") < 0 || ::umount2(".", MNT_DETACH) < 0 || ::chdir("/") < 0) {
    fail(plan, Step::kSwitchRoot);
  }
}

// Moves every descriptor out of the way first, since one mapping's target may be another's source. Returns
// the status descriptor's new number.
int place_descriptors(const Plan& plan) noexcept {
  int highest = 2;
  for (const FdMapping& mapping : plan.fds) highest = std::max(highest, mapping.child_fd);
  const int status = ::fcntl(plan.status_descriptor, F_DUPFD_CLOEXEC, highest + 1);
  if (status < 0) fail(plan, Step::kDescriptors);
  for (std::size_t i = 0; i < plan.fds.size(); ++i) {
    plan.moved_descriptors[i] = ::fcntl(plan.fds[i].parent_fd, F_DUPFD_CLOEXEC, highest + 1);
    if (plan.moved_descriptors[i] < 0) fail(plan, Step::kDescriptors);
  }
  if (::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) < 0) fail(plan, Step::kDescriptors);
  for (std::size_t i = 0; i < plan.fds.size(); ++i) {
    if (::dup2(plan.moved_descriptors[i], plan.fds[i].child_fd) < 0) {
      const Failure failure{Step::kDescriptors, errno, -1};
      static_cast<void>(!::write(status, &failure, sizeof(failure)));
      ::_exit(127);
    }
  }
  return status;
}

bool set_limit(int resource, std::uint64_t value) noexcept {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) < 0) return false;
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, value);
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0;
}

bool set_limits(const SandboxPolicy& policy) noexcept {
  bool set = set_limit(RLIMIT_CORE, 0) && set_limit(RLIMIT_NOFILE, policy.open_files);
  if (policy.cpu_seconds != 0) set = set && set_limit(RLIMIT_CPU, policy.cpu_seconds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  if (policy.address_space_bytes != 0) set = set && set_limit(RLIMIT_AS, policy.address_space_bytes);
#endif
  return set;
}

bool set_capabilities(std::uint64_t mask) noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (unsigned half = 0; half < 2; ++half) {
    const auto bits = static_cast<std::uint32_t>(mask >> (32 * half));
    data[half] = {bits, bits, bits};
  }
  return ::syscall(SYS_capset, &header, &data) == 0;
}

bool holds_capability(unsigned capability) noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, &data) < 0) return false;
  return (data[capability / 32].permitted >> (capability % 32) & 1U) != 0;
}

void drop_bounding_set(unsigned keep) noexcept {
  for (unsigned capability = 0; capability <= 63; ++capability) {
    if (capability != keep) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

// System calls by number: the C library's setuid() and its like signal the threads of the parent they
// remember.
bool drop_root(const Plan& plan) noexcept {
  const bool wants_read = plan.policy.read_any_file;
  const bool can_read = holds_capability(CAP_DAC_READ_SEARCH);
  const std::uint64_t kept = wants_read && can_read ? 1ULL << CAP_DAC_READ_SEARCH : 0;
  drop_bounding_set(kept != 0 ? CAP_DAC_READ_SEARCH : 64);
  ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS, 0, 0, 0);
  // A container's root without that capability reads its own files as their owner, and stays who it is for
  // that.
  if (can_read || !wants_read) {
    const bool changed = ::syscall(SYS_setgroups, 0, nullptr) == 0 &&
                         ::syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
                         ::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0;
    if (!changed && plan.level != SandboxLevel::kLimitsOnly) return false;
  }
  if (!set_capabilities(kept)) return false;
  return kept == 0 || ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) == 0;
}

void reset_signals() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool parent_is_dead(int status) noexcept {
  pollfd reader{status, POLLOUT, 0};
  return ::poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0;
}

void write_process_id(char* digits) noexcept {
  char reversed[20];
  int count = 0;
  for (auto rest = static_cast<unsigned>(::getpid()); count == 0 || rest != 0; rest /= 10) {
    reversed[count++] = static_cast<char>('0' + rest % 10);
  }
  while (count > 0) *digits++ = reversed[--count];
  *digits = '\0';
}

}  // namespace

unsigned long clone_flags(const Plan& plan) {
  if (plan.level == SandboxLevel::kLimitsOnly) return 0;
  unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
  if (!plan.policy.network) flags |= CLONE_NEWNET;
  if (plan.level == SandboxLevel::kUserNamespace) flags |= CLONE_NEWUSER;
  return flags;
}

void become_program(const Plan& plan) noexcept {
  ::close(plan.status_reader);
  ::setsid();  // a Ctrl-C on the terminal is ours to handle
  ::umask(0);
  if (plan.level == SandboxLevel::kUserNamespace) map_identity(plan);
  // By descriptor, so that another user can start it wherever it lies; without namespaces only.
  int program = -1;
  if (plan.level == SandboxLevel::kLimitsOnly) {
    program = ::open(plan.program.c_str(), O_RDONLY | O_CLOEXEC);
    if (program < 0) fail(plan, Step::kExec);
  } else {
    build_root(plan);
  }
  ::umask(077);
  if (plan.listen_pid_digits != nullptr) write_process_id(plan.listen_pid_digits);
  // The program's descriptor must not be where a mapping goes.
  if (program >= 0) {
    int highest = 2;
    for (const FdMapping& mapping : plan.fds) highest = std::max(highest, mapping.child_fd);
    program = ::fcntl(program, F_DUPFD_CLOEXEC, highest + 1);
  }
  const int status = place_descriptors(plan);
  const auto fail_at = [status](Step step) {
    const Failure failure{step, errno, -1};
    static_cast<void>(!::write(status, &failure, sizeof(failure)));
    ::_exit(127);
  };
  if (plan.root && plan.level != SandboxLevel::kUserNamespace) {
    if (!drop_root(plan)) fail_at(Step::kCredentials);
  } else {
    if (plan.level == SandboxLevel::kUserNamespace) drop_bounding_set(64);
    if (!set_capabilities(0)) fail_at(Step::kCredentials);
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
    fail_at(Step::kCredentials);
  }
  if (parent_is_dead(status)) ::_exit(127);
  reset_signals();
  if (!set_limits(plan.policy)) fail_at(Step::kLimits);
  sock_fprog filter{static_cast<unsigned short>(plan.filter.size()),
                    const_cast<sock_filter*>(plan.filter.data())};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0) fail_at(Step::kFilter);
  if (program >= 0) {
    ::syscall(SYS_execveat, program, "", plan.argv.data(), plan.environment.data(), AT_EMPTY_PATH);
  } else {
    ::execve(plan.program.c_str(), plan.argv.data(), plan.environment.data());
  }
  fail_at(Step::kExec);
  ::_exit(127);
}

const char* step_text(Step step) {
  switch (step) {
    case Step::kIdentityMap:
      return "mapping users";
    case Step::kPrivateMounts:
      return "separating mounts";
    case Step::kOpenTree:
      return "opening";
    case Step::kNewRoot:
      return "mounting a root";
    case Step::kMakePath:
      return "making a place for";
    case Step::kAttachTree:
      return "attaching";
    case Step::kSwitchRoot:
      return "switching roots";
    case Step::kDescriptors:
      return "passing descriptors";
    case Step::kLimits:
      return "setting limits";
    case Step::kCredentials:
      return "dropping privileges";
    case Step::kFilter:
      return "filtering system calls";
    case Step::kExec:
      return "starting the program";
  }
  return "starting";
}

}  // namespace vmpack::sandbox
