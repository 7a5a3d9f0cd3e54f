// SPDX-License-Identifier: Apache-2.0
// The helper that links libguestfs, as a process: it and its appliance live in one process group, and end
// together.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

/// Both ends close on exec. Throws Error (kIo).
[[nodiscard]] Pipe make_pipe();

struct HelperTask {
  std::vector<std::string> arguments;                     ///< the program first
  std::string folder;                                     ///< where libguestfs may put its sockets
  int in = -1;                                            ///< its standard input
  int stop = -1;                                          ///< readable when it shall end
  std::chrono::steady_clock::time_point launch_deadline;  ///< until the appliance is up
  std::chrono::steady_clock::time_point deadline;         ///< for everything
  /// Gets the report on volumes, as JSON, once it is there.
  std::function<void(std::string_view)> on_volumes;
};

/// What a run of the helper came to.
struct HelperRun {
  bool launched = false;  ///< the appliance came up
  bool stopped = false;   ///< because it was told so
  std::string facts;      ///< OS facts as JSON
  std::string failure;    ///< for people; empty when facts are there
};

/// Runs the helper to its end. The thread that calls this must live as long as the helper. Throws Error when
/// it cannot be started or says too much, and what on_volumes throws.
[[nodiscard]] HelperRun run_helper(const HelperTask& task);

}  // namespace vmpack
