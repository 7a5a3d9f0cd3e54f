// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/kvm_verdict.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/inspect/os_wire.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

using Clock = std::chrono::steady_clock;

/// With working KVM the appliance starts in seconds, after it was built once, which takes a while.
constexpr auto kKvmLaunchTimeMax = std::chrono::seconds(60);
constexpr std::size_t kErrorTextBytesMax = 16 * kKiB;

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error(errno, "cannot make", "a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

/// A folder for sockets and overlays: libguestfs would leave its own behind when it is killed.
class ScratchFolder {
 public:
  ScratchFolder() : path_((std::filesystem::temp_directory_path() / "vmpack-os-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw system_error(errno, "cannot make the folder", path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

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
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// The helper with its appliance, as one process group. Destruction ends them all.
class Group {
 public:
  Group(std::vector<std::string> arguments, const std::string& folder, int out, int err) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
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

/// What the helper's attempt came to.
struct Attempt {
  bool launched = false;  ///< the appliance came up
  bool stopped = false;   ///< by ~OsInspection
  std::string json;
  std::string failure;  ///< empty when json is whole
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

/// Runs the helper once. `launch_deadline` holds until the appliance is up, `deadline` for everything.
Attempt attempt(const std::vector<std::string>& arguments, const std::string& folder, int stop,
                Clock::time_point launch_deadline, Clock::time_point deadline) {
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const Group group(arguments, folder, out.write_end.get(), err.write_end.get());
  out.write_end.reset();
  err.write_end.reset();

  Attempt result;
  std::string said;
  bool err_open = true;
  for (bool out_open = true; out_open;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        (result.launched ? deadline : std::min(launch_deadline, deadline)) - Clock::now());
    if (left.count() <= 0) {
      result.failure = result.launched ? "libguestfs took too long and was stopped"
                                       : "the libguestfs appliance took too long to start";
      return result;
    }
    std::array<pollfd, 3> waiting{{{out.read_end.get(), POLLIN, 0},
                                   {err_open ? err.read_end.get() : -1, POLLIN, 0},
                                   {stop, POLLIN, 0}}};
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
      out_open = drain(out.read_end.get(), result.json, limits::kJsonBytesMax);
      if (!result.launched && result.json.starts_with(os_wire::kLaunched)) {
        result.launched = true;
        result.json.erase(0, os_wire::kLaunched.size());
      }
    }
  }
  while (err_open && drain(err.read_end.get(), said, limits::kJsonBytesMax)) {
  }
  if (!result.launched || result.json.empty()) {
    result.failure = said.empty() ? "libguestfs died without a word" : last_line(said);
  }
  return result;
}

/// Kind and place of the image as the helper wants them. Throws Error where it cannot be reached.
std::pair<std::string_view, std::string> image_arguments(const SourceAttachment& source) {
  if (!source.raw_path.empty()) return {os_wire::kRaw, std::filesystem::absolute(source.raw_path).string()};
  if (!source.nbd_socket.empty()) return {os_wire::kNbdSocket, source.nbd_socket};
  constexpr std::string_view kScheme = "nbd://";
  constexpr std::string_view kDefaultPort = "10809";
  if (source.nbd_uri.starts_with(kScheme)) {
    const std::string rest = source.nbd_uri.substr(kScheme.size());
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    std::string host = rest.substr(0, slash);
    const bool has_port = host.rfind(':') != std::string::npos && !host.ends_with(']');
    if (!has_port) host += fmt::format(":{}", kDefaultPort);
    return {os_wire::kNbdHost, host + rest.substr(slash)};
  }
  throw Error(ErrorCode::kUnsupported, "libguestfs cannot reach an image of this kind");
}

void make_presentable(OsFacts& facts) {
  for (OperatingSystem& system : facts.systems) {
    for (std::string* text :
         {&system.root, &system.type, &system.distribution, &system.product_name, &system.version,
          &system.architecture, &system.hostname, &system.package_format}) {
      *text = printable(*text);
    }
    for (Package& package : system.packages) {
      package = {printable(package.name), printable(package.version), printable(package.architecture)};
    }
    std::ranges::stable_sort(system.packages, {}, &Package::name);
  }
}

OsInspection::Result run(const SourceAttachment& source, std::chrono::seconds time_max, int stop) {
  const auto deadline = Clock::now() + time_max;
  const auto [kind, where] = image_arguments(source);
  const ScratchFolder folder;
  const auto arguments = [&, helper = find_helper("vmpack-os-helper")](std::string_view accelerator) {
    return std::vector<std::string>{
        helper, std::to_string(::getpid()), folder.path(), std::string(accelerator), std::string(kind),
        where};
  };
  Attempt result;
  const bool tried_kvm = kvm_may_work();
  if (tried_kvm) {
    result =
        attempt(arguments(os_wire::kKvm), folder.path(), stop, Clock::now() + kKvmLaunchTimeMax, deadline);
  }
  if (!result.launched && !result.stopped) {
    result = attempt(arguments(os_wire::kTcg), folder.path(), stop, deadline, deadline);
    // Only now is it KVM's fault, and not that of the appliance.
    if (tried_kvm && result.launched) remember_broken_kvm();
  }
  if (result.stopped) return {{}, "stopped"};
  if (!result.failure.empty()) return {{}, result.failure};
  OsFacts facts = os_facts_from_json(result.json, "the answer of vmpack-os-helper");
  make_presentable(facts);
  return {std::move(facts), {}};
}

class RunningInspection final : public OsInspection {
 public:
  RunningInspection(const SourceAttachment& source, std::chrono::seconds time_max)
      : stop_(::eventfd(0, EFD_CLOEXEC)), result_(promise_.get_future()), thread_([this, source, time_max] {
          // The helper dies with the thread that started it, so this one stays until it is done.
          Result result;
          try {
            result = run(source, time_max, stop_.get());
          } catch (const std::exception& error) {
            result.failure = error.what();
          }
          promise_.set_value(std::move(result));
        }) {}
  ~RunningInspection() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }

  Result wait() override { return result_.get(); }

 private:
  FileDescriptor stop_;
  std::promise<Result> promise_;
  std::future<Result> result_;
  std::thread thread_;
};

class FailedInspection final : public OsInspection {
 public:
  explicit FailedInspection(std::string failure) : failure_(std::move(failure)) {}
  Result wait() override { return {{}, failure_}; }

 private:
  std::string failure_;
};

}  // namespace

std::unique_ptr<OsInspection> OsInspection::start(const SourceAttachment& source,
                                                  std::chrono::seconds time_max) {
  try {
    return std::make_unique<RunningInspection>(source, time_max);
  } catch (const std::exception& error) {
    return std::make_unique<FailedInspection>(error.what());
  }
}

}  // namespace vmpack
