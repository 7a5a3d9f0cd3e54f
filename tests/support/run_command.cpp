// SPDX-License-Identifier: Apache-2.0
#include "tests/support/run_command.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack::test {
namespace {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error(errno, "cannot make", "a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// In the child: never returns.
[[noreturn]] void execute(const std::vector<std::string>& arguments, const CommandOptions& options) {
  for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(127);
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  ::_exit(127);
}

// Reads what is there; true at the end of the stream.
bool drain(const FileDescriptor& from, std::string& to) {
  std::array<char, 65536> buffer{};
  const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
  if (got > 0) to.append(buffer.data(), static_cast<std::size_t>(got));
  return got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& arguments, const CommandOptions& options) {
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const pid_t child = ::fork();
  if (child < 0) throw system_error(errno, "cannot start", arguments.at(0));
  if (child == 0) {
    ::dup2(in.read_end.get(), STDIN_FILENO);
    ::dup2(out.write_end.get(), STDOUT_FILENO);
    ::dup2(err.write_end.get(), STDERR_FILENO);
    execute(arguments, options);
  }
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();
  ::signal(SIGPIPE, SIG_IGN);
  ::fcntl(in.write_end.get(), F_SETFL, O_NONBLOCK);

  CommandResult result;
  std::size_t written = 0;
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  while (out.read_end || err.read_end) {
    if (written == options.input.size()) in.write_end.reset();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      ::kill(child, SIGKILL);
      result.err += "\n(killed by the test: it ran longer than allowed)\n";
      break;
    }
    // poll skips negative descriptors, which is what closed ones are.
    std::array<pollfd, 3> watched{pollfd{out.read_end.get(), POLLIN, 0},
                                  pollfd{err.read_end.get(), POLLIN, 0},
                                  pollfd{in.write_end.get(), POLLOUT, 0}};
    if (::poll(watched.data(), watched.size(), static_cast<int>(left.count())) <= 0) continue;
    if (watched[0].revents != 0 && drain(out.read_end, result.out)) out.read_end.reset();
    if (watched[1].revents != 0 && drain(err.read_end, result.err)) err.read_end.reset();
    if (watched[2].revents != 0) {
      const ssize_t put =
          ::write(in.write_end.get(), options.input.data() + written, options.input.size() - written);
      if (put >= 0) written += static_cast<std::size_t>(put);
      if (put < 0 && errno != EAGAIN && errno != EINTR) written = options.input.size();
    }
  }
  result.exit_code = wait_for(child);
  return result;
}

std::string run_or_throw(const std::vector<std::string>& arguments) {
  CommandOptions options;
  // Where mke2fs and its like live is not in everybody's PATH.
  options.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}};
  CommandResult result = run_command(arguments, options);
  if (result.exit_code != 0)
    throw Error(ErrorCode::kIo, fmt::format("{} failed: {}", arguments.at(0), result.err));
  return std::move(result.out);
}

int start_command(const std::vector<std::string>& arguments, const CommandOptions& options) {
  const pid_t child = ::fork();
  if (child < 0) throw system_error(errno, "cannot start", arguments.at(0));
  if (child == 0) execute(arguments, options);
  return child;
}

int wait_for(int process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) throw system_error(errno, "cannot wait for", "a child");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string program(const char* variable) {
  const char* path = std::getenv(variable);
  if (path == nullptr) {
    throw Error(ErrorCode::kInvalid, std::string(variable) + " is not set", "run the test through ctest");
  }
  return path;
}

}  // namespace vmpack::test
