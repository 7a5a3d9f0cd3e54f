// SPDX-License-Identifier: Apache-2.0
// What happens between the birth of a sandboxed child and the start of its program. Internal to source/.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "libvmpack/source/sandbox.hpp"

namespace vmpack::sandbox {

/// Where a child was when it failed; the text for people is in step_text().
enum class Step : std::int32_t {
  kIdentityMap,
  kPrivateMounts,
  kOpenTree,
  kNewRoot,
  kMakePath,
  kAttachTree,
  kSwitchRoot,
  kDescriptors,
  kLimits,
  kCredentials,
  kFilter,
  kExec,
};

/// Sent through the status pipe by a child that could not start its program; a program that starts sends
/// nothing.
struct Failure {
  Step step;
  std::int32_t error_number;
  std::int32_t index;  ///< of the entry of Plan::trees that failed, or -1
};

/// A file, folder or device of the host that is visible below the new root, read-only.
struct Tree {
  std::string path;  ///< absolute, the same outside and inside
  std::vector<std::string>
      new_folders;  ///< to make below the new root first, outermost first; without leading '/'
  bool folder = false;
  bool device = false;
  bool executable = false;
  bool optional = false;  ///< left out when it cannot be opened
};

struct Link {
  std::string name;  ///< below the new root, without leading '/'
  std::string target;
};

/// Everything a child needs, prepared by the parent: after its birth a child of a process with threads may
/// neither allocate nor take a lock.
struct Plan {
  SandboxLevel level = SandboxLevel::kPrivileged;
  std::string program;
  std::vector<char*> argv;  ///< ends in nullptr, like environment
  std::vector<char*> environment;
  char* listen_pid_digits = nullptr;  ///< where in `environment` to write the child's process id, or nullptr
  std::vector<Tree> trees;
  mutable std::vector<int> tree_descriptors;  ///< one for each tree; the child fills it
  std::vector<Link> links;
  std::vector<FdMapping> fds;
  mutable std::vector<int> moved_descriptors;  ///< one for each of fds; the child fills it
  int status_descriptor = -1;
  int status_reader = -1;  ///< the parent's end: the child closes it to notice a dead parent
  SandboxPolicy policy;
  bool root = false;
  std::string uid_map;
  std::string gid_map;
  std::vector<sock_filter> filter;
};

/// Flags for clone() that give the plan's namespaces.
[[nodiscard]] unsigned long clone_flags(const Plan& plan);

/// Runs in the child; async-signal-safe; never returns.
[[noreturn]] void become_program(const Plan& plan) noexcept;

[[nodiscard]] const char* step_text(Step step);

/// The system calls that no program of ours needs and that a taken-over one would like. Any thread.
[[nodiscard]] std::vector<sock_filter> make_filter(bool network);

}  // namespace vmpack::sandbox
