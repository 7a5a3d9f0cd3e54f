// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/appliance_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/appliance_wire.hpp"

namespace vmpack {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kErrorTextBytesMax = 16 * kKiB;

/// Our environment with a folder of its own for libguestfs's sockets.
std::vector<std::string> environment_with(const std::string& folder) {
  std::vector<std::string> environment{"XDG_RUNTIME_DIR=" + folder};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("XDG_RUNTIME_DIR=")) environment.emplace_back(*entry);
  }
  return environment;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// The helper with its appliance, as one process group. Destruction ends them all.
class Group {
 public:
  Group(std::vector<std::string> arguments, const std::string& folder, int in, int out, int err) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    std::vector<std::string> environment = environment_with(folder);
    const int error = ::posix_spawn(&leader_, arguments.front().c_str(), &files, &attributes,
                                    pointers_to(arguments).data(), pointers_to(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw system_error(error, "cannot start", arguments.front());
  }
  ~Group() {
    // The leader is not waited for before: until then no other group can have its number.
    ::kill(-leader_, SIGKILL);
    ::waitpid(leader_, nullptr, 0);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

 private:
  pid_t leader_ = -1;
};

/// Takes what the helper prints apart.
class Answers {
 public:
  /// `volumes` is called with the report on volumes, as JSON, once it is there.
  explicit Answers(std::function<void(std::string_view)> volumes) : volumes_(std::move(volumes)) {}

  [[nodiscard]] std::string& text() { return text_; }
  /// Looks at what came into text(). True when the appliance just came up.
  bool take() {
    const bool now_up = !launched_ && text_.starts_with(appliance_wire::kLaunched);
    if (now_up) {
      launched_ = true;
      text_.erase(0, appliance_wire::kLaunched.size());
    }
    const std::size_t line = text_.find('\n');
    if (launched_ && line != std::string::npos && text_.starts_with(appliance_wire::kVolumes)) {
      volumes_(std::string_view(text_).substr(appliance_wire::kVolumes.size(),
                                              line - appliance_wire::kVolumes.size()));
      text_.erase(0, line + 1);
    }
    return now_up;
  }

 private:
  std::function<void(std::string_view)> volumes_;
  std::string text_;
  bool launched_ = false;
};

/// Reads what is there. False at the end.
bool drain(int descriptor, std::string& into, std::size_t bytes_max) {
  std::array<char, 64 * kKiB> buffer;
  const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (into.size() + static_cast<std::size_t>(got) > bytes_max) {
    throw Error(ErrorCode::kLimit, "libguestfs reported more than can be kept");
  }
  into.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return printable(text.substr(text.rfind('\n') + 1));
}

}  // namespace

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error(errno, "cannot make", "a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

HelperRun run_helper(const HelperTask& task) {
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const Group group(task.arguments, task.folder, task.in, out.write_end.get(), err.write_end.get());
  out.write_end.reset();
  err.write_end.reset();

  HelperRun result;
  Answers answers(task.on_volumes);
  std::string said;
  bool err_open = true;
  for (bool out_open = true; out_open;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        (result.launched ? task.deadline : std::min(task.launch_deadline, task.deadline)) - Clock::now());
    if (left.count() <= 0) {
      result.failure = result.launched ? "libguestfs took too long and was stopped"
                                       : "the libguestfs appliance took too long to start";
      return result;
    }
    std::array<pollfd, 3> waiting{{{out.read_end.get(), POLLIN, 0},
                                   {err_open ? err.read_end.get() : -1, POLLIN, 0},
                                   {task.stop, POLLIN, 0}}};
    constexpr std::chrono::milliseconds kNapMax = std::chrono::minutes(1);
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::min(left, kNapMax).count())) < 0)
      continue;
    if (waiting[2].revents != 0) {
      result.stopped = true;
      return result;
    }
    if (waiting[1].revents != 0) {
      err_open = drain(err.read_end.get(), said, limits::kJsonBytesMax);
      if (said.size() > kErrorTextBytesMax) said.erase(0, said.size() - kErrorTextBytesMax);
    }
    if (waiting[0].revents != 0) {
      out_open = drain(out.read_end.get(), answers.text(), limits::kJsonBytesMax);
      if (answers.take()) result.launched = true;
    }
  }
  while (err_open && drain(err.read_end.get(), said, limits::kJsonBytesMax)) {
  }
  result.facts = std::move(answers.text());
  if (!result.launched || result.facts.empty()) {
    result.failure = said.empty() ? "libguestfs died without a word" : last_line(said);
  }
  return result;
}

}  // namespace vmpack
