// SPDX-License-Identifier: Apache-2.0
// Runs a program as a user would, and keeps what it said.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace vmpack::test {

struct CommandOptions {
  std::vector<std::pair<std::string, std::string>> environment;  ///< added to the test's own
  std::string folder;                                            ///< to run in; empty: the test's own
  std::string input;                                             ///< for its standard input
  std::chrono::seconds timeout{60};                              ///< then it is killed
};

struct CommandResult {
  int exit_code = 0;  ///< as a shell tells it: 128 + the signal's number when one ended it
  std::string out;
  std::string err;
};

/// `arguments` begins with the program (looked up in PATH). A program that cannot be started exits with 127.
[[nodiscard]] CommandResult run_command(const std::vector<std::string>& arguments,
                                        const CommandOptions& options = {});

/// Runs one of the system's tools. Throws Error (kIo) with what it said unless it exits with 0; returns what
/// it printed.
std::string run_or_throw(const std::vector<std::string>& arguments);

/// Starts a program without waiting; its output goes to the test's. Returns its process id.
[[nodiscard]] int start_command(const std::vector<std::string>& arguments,
                                const CommandOptions& options = {});
/// Waits for a process; the exit code as above.
int wait_for(int process);

/// A program's path from the environment that CTest sets (VMPACK, VMSERVE); fails the test when it is not
/// there.
[[nodiscard]] std::string program(const char* variable);

}  // namespace vmpack::test
