// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/helper/confine.hpp"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <initializer_list>
#include <memory>

#include "libvmpack/base/error.hpp"

// Sanitizers need terabytes of addresses and system calls of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VMPACK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VMPACK_SANITIZED 1
#endif
#endif
#ifndef VMPACK_SANITIZED
#define VMPACK_SANITIZED 0
#endif

namespace vmpack {
namespace {

void limit(__rlimit_resource_t resource, std::uint64_t value, const char* name) {
  const rlimit both{value, value};
  if (::setrlimit(resource, &both) != 0) throw system_error(errno, "cannot limit", name);
}

void check(int result) {
  if (result < 0) throw system_error(-result, "cannot confine", "this process");
}

struct FreeFilter {
  void operator()(void* filter) const { seccomp_release(filter); }
};

void install_filter() {
  const std::unique_ptr<void, FreeFilter> filter(seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!filter) throw Error(ErrorCode::kIo, "cannot confine this process");
  const auto rule = [&filter](std::uint32_t action, int call) {
    check(seccomp_rule_add_array(filter.get(), action, call, 0, nullptr));
  };
  for (const int call :
       {SCMP_SYS(read),      SCMP_SYS(readv),        SCMP_SYS(pread64),        SCMP_SYS(write),
        SCMP_SYS(writev),    SCMP_SYS(pwrite64),     SCMP_SYS(lseek),          SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),   SCMP_SYS(sendto),       SCMP_SYS(sendmsg),        SCMP_SYS(fstat),
        SCMP_SYS(ftruncate), SCMP_SYS(memfd_create), SCMP_SYS(close),          SCMP_SYS(fadvise64),
        SCMP_SYS(munmap),    SCMP_SYS(mremap),       SCMP_SYS(madvise),        SCMP_SYS(brk),
        SCMP_SYS(futex),     SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(gettid),
        SCMP_SYS(getpid),    SCMP_SYS(tgkill),       SCMP_SYS(clock_gettime),  SCMP_SYS(gettimeofday),
        SCMP_SYS(time),      SCMP_SYS(getrandom),    SCMP_SYS(sched_yield),    SCMP_SYS(restart_syscall),
        SCMP_SYS(exit),      SCMP_SYS(exit_group)}) {
    rule(SCMP_ACT_ALLOW, call);
  }
  // Memory never becomes code.
  const scmp_arg_cmp no_code{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0};
  check(seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_code));
  check(seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_code));
  // Libraries try these and live without: devices' sizes, configuration files, the size of the memory.
  rule(SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl));
  rule(SCMP_ACT_ERRNO(EACCES), SCMP_SYS(open));
  rule(SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat));
  rule(SCMP_ACT_ERRNO(EACCES), SCMP_SYS(readlink));
  rule(SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(fcntl));
  rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(sysinfo));
  // glibc's fstat() on most machines: allowed for an open descriptor, which only an empty path asks for; what
  // a path can point at is invisible here, and a status tells little.
  rule(SCMP_ACT_ALLOW, SCMP_SYS(newfstatat));
  check(seccomp_load(filter.get()));
}

}  // namespace

void confine(std::uint64_t address_space_bytes) {
  limit(RLIMIT_CORE, 0, "core dumps");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    throw system_error(errno, "cannot confine", "this process");
  }
  if (VMPACK_SANITIZED != 0) return;
  limit(RLIMIT_AS, address_space_bytes, "memory");
  install_filter();
}

}  // namespace vmpack
