// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/sandbox.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/sandbox_child.hpp"

namespace vmpack {
namespace {

using sandbox::Failure;
using sandbox::Plan;
using sandbox::Step;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::array kProgramFolders{"/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"};
constexpr std::array kDevices{"/dev/null", "/dev/zero", "/dev/urandom"};

struct Pipe {
  FileDescriptor reader;
  FileDescriptor writer;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw system_error(errno, "cannot make", "a pipe");
    reader = FileDescriptor(ends[0]);
    writer = FileDescriptor(ends[1]);
  }
};

void set_nonblocking(const FileDescriptor& file) {
  if (::fcntl(file.get(), F_SETFL, O_NONBLOCK) < 0) throw system_error(errno, "cannot set up", "a pipe");
}

// Appends what there is, and returns false at the end of the stream.
bool drain(int descriptor, std::string& into) {
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(got));
      return true;
    }
    if (got < 0 && errno == EINTR) continue;
    return got < 0 && errno == EAGAIN;
  }
}

sandbox::Tree make_tree(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) < 0) throw system_error(errno, "cannot open", path);
  sandbox::Tree tree;
  tree.path = path;
  tree.folder = S_ISDIR(facts.st_mode);
  tree.device = S_ISBLK(facts.st_mode) || S_ISCHR(facts.st_mode);
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    tree.new_folders.push_back(path.substr(1, slash - 1));
  }
  return tree;
}

void add_system(Plan& plan) {
  for (const char* folder : kProgramFolders) {
    std::error_code ignored;
    if (fs::is_symlink(folder, ignored)) {
      plan.links.push_back({folder + 1, fs::read_symlink(folder, ignored)});
    } else if (fs::is_directory(folder, ignored)) {
      plan.trees.push_back(make_tree(folder));
      plan.trees.back().executable = true;
    }
  }
  if (::access("/etc/ld.so.cache", R_OK) == 0) plan.trees.push_back(make_tree("/etc/ld.so.cache"));
  for (const char* device : kDevices) {
    if (::access(device, F_OK) < 0) continue;
    plan.trees.push_back(make_tree(device));
    plan.trees.back().optional = true;  // a container's /dev can be odd, and programs do without
  }
}

bool below_program_folder(const std::string& path) {
  return std::ranges::any_of(kProgramFolders, [&](std::string_view folder) {
    return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
  });
}

void check_policy_path(const std::string& path) {
  if (!path.starts_with('/')) throw Error(ErrorCode::kInvalid, fmt::format("not an absolute path: {}", path));
}

// Strings that argv and environment point into; lives as long as the plan.
struct PlanStrings {
  std::vector<std::string> argv;
  std::vector<std::string> environment;
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

Plan make_plan(const std::vector<std::string>& argv, const SandboxPolicy& policy, PlanStrings& strings) {
  Plan plan;
  plan.policy = policy;
  plan.root = ::geteuid() == 0;
  VMPACK_ASSERT(!argv.empty());
  check_policy_path(argv[0]);
  std::error_code failed;
  plan.program = fs::canonical(argv[0], failed);
  if (failed) throw system_error(failed.value(), "cannot start", argv[0]);

  add_system(plan);
  if (!below_program_folder(plan.program)) {
    plan.trees.push_back(make_tree(plan.program));
    plan.trees.back().executable = true;
  }
  for (const std::string& path : policy.readable_paths) {
    check_policy_path(path);
    plan.trees.push_back(make_tree(path));
  }
  plan.tree_descriptors.assign(plan.trees.size(), -1);

  strings.argv = argv;
  strings.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  strings.environment.insert(strings.environment.end(), policy.environment.begin(), policy.environment.end());
  if (policy.listen_fds != 0) {
    strings.environment.push_back(fmt::format("LISTEN_FDS={}", policy.listen_fds));
    strings.environment.push_back("LISTEN_PID=" + std::string(20, '\0'));
    plan.listen_pid_digits = strings.environment.back().data() + std::strlen("LISTEN_PID=");
  }
  plan.argv = pointers(strings.argv);
  plan.environment = pointers(strings.environment);
  plan.uid_map = fmt::format("65534 {} 1\n", ::geteuid());
  plan.gid_map = fmt::format("65534 {} 1\n", ::getegid());
  plan.filter = sandbox::make_filter(policy.network);
  return plan;
}

std::string program_name(const std::vector<std::string>& argv) { return fs::path(argv.at(0)).filename(); }

std::vector<SandboxLevel> levels_to_try(bool root) {
  std::vector<SandboxLevel> levels{SandboxLevel::kUserNamespace, SandboxLevel::kLimitsOnly};
  if (root) levels.insert(levels.begin(), SandboxLevel::kPrivileged);
  return levels;
}

// True when it is this system that forbids namespaces, and not the caller that asked for something wrong.
bool may_try_lower(const Failure& failure) {
  switch (failure.step) {
    case Step::kIdentityMap:
    case Step::kPrivateMounts:
    case Step::kNewRoot:
    case Step::kMakePath:
    case Step::kAttachTree:
    case Step::kSwitchRoot:
    case Step::kCredentials:
      return true;
    case Step::kOpenTree:
      return failure.error_number == EPERM || failure.error_number == ENOSYS ||
             failure.error_number == EINVAL;
    default:
      return false;
  }
}

}  // namespace

std::string ExitStatus::describe() const {
  if (signal == 0) return fmt::format("exit code {}", code);
  const char* name = ::sigdescr_np(signal);
  return fmt::format("signal {} ({})", signal, name != nullptr ? name : "unknown");
}

// A thread for each child starts it, reads what it says, and waits for it. It must be a thread that lives as
// long as the child: PR_SET_PDEATHSIG fires when the thread that made the child ends, not when the process
// does.
class Child::Keeper {
 public:
  Keeper(const std::vector<std::string>& argv, const SandboxPolicy& policy, std::span<const FdMapping> fds)
      : plan_(make_plan(argv, policy, strings_)) {
    plan_.fds.assign(fds.begin(), fds.end());
    const auto mapped = [&](int descriptor) {
      return std::ranges::any_of(fds,
                                 [&](const FdMapping& mapping) { return mapping.child_fd == descriptor; });
    };
    null_ = FileDescriptor::open("/dev/null", O_RDWR);
    if (!mapped(STDIN_FILENO)) plan_.fds.push_back({null_.get(), STDIN_FILENO});
    if (!mapped(STDOUT_FILENO)) plan_.fds.push_back({null_.get(), STDOUT_FILENO});
    if (!mapped(STDERR_FILENO)) plan_.fds.push_back({stderr_.writer.get(), STDERR_FILENO});
    plan_.moved_descriptors.assign(plan_.fds.size(), -1);
    set_nonblocking(stderr_.reader);
    thread_ = std::thread([this] { run(); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return started_ || start_error_; });
    if (start_error_) {
      lock.unlock();
      thread_.join();
      throw Error(*start_error_);
    }
  }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  ~Keeper() {
    if (!thread_.joinable()) return;
    kill();
    thread_.join();
  }

  void kill() {
    const std::scoped_lock lock(mutex_);
    if (!status_) ::kill(pid_, SIGKILL);  // not reaped yet, so the number is still its own
  }

  std::optional<ExitStatus> wait_for(milliseconds timeout) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [&] { return status_.has_value(); });
    return status_;
  }

  pid_t pid() const { return pid_; }
  SandboxLevel level() const { return plan_.level; }
  std::string stderr_text() const {
    const std::scoped_lock lock(mutex_);
    return stderr_text_;
  }

 private:
  void run() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    try {
      for (const SandboxLevel level : levels_to_try(plan_.root)) {
        plan_.level = level;
        if (start(level == SandboxLevel::kLimitsOnly)) break;
      }
    } catch (const Error& error) {
      const std::scoped_lock lock(mutex_);
      start_error_ = error;
      changed_.notify_all();
      return;
    }
    plan_.filter = {};
    stderr_.writer.reset();
    null_.reset();
    {
      const std::scoped_lock lock(mutex_);
      started_ = true;
      changed_.notify_all();
    }
    keep();
  }

  // False when this system does not allow the level; throws when the program cannot be started at all.
  bool start(bool last_level) {
    Pipe status;
    plan_.status_descriptor = status.writer.get();
    plan_.status_reader = status.reader.get();
    // No CLONE_VM: this is fork(), without the C library's handlers and with namespaces.
    const auto pid =
        static_cast<pid_t>(::syscall(SYS_clone, sandbox::clone_flags(plan_) | SIGCHLD, 0UL, 0UL, 0UL, 0UL));
    if (pid == 0) sandbox::become_program(plan_);
    if (pid < 0) {
      if (last_level) throw system_error(errno, "cannot start", plan_.program);
      return false;
    }
    status.writer.reset();
    Failure failure{};
    ssize_t got;
    do {
      got = ::read(status.reader.get(), &failure, sizeof(failure));
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
      pid_ = pid;
      return true;
    }
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (!last_level && may_try_lower(failure)) return false;
    throw_failure(failure);
  }

  [[noreturn]] void throw_failure(const Failure& failure) const {
    if (failure.step == Step::kOpenTree && failure.index >= 0) {
      const std::string& path = plan_.trees[static_cast<std::size_t>(failure.index)].path;
      if (failure.error_number == ELOOP) {
        throw Error(ErrorCode::kRefused, fmt::format("{} was replaced by a symbolic link", path));
      }
      throw system_error(failure.error_number, "cannot open", path);
    }
    if (failure.step == Step::kExec) throw system_error(failure.error_number, "cannot start", plan_.program);
    throw system_error(failure.error_number,
                       fmt::format("cannot start a sandbox ({}) for", sandbox::step_text(failure.step)),
                       plan_.program);
  }

  void keep() {
    // Without pidfds (Linux before 5.3) the end of standard error is what ends the loop.
    const FileDescriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    std::array<pollfd, 2> watched{pollfd{stderr_.reader.get(), POLLIN, 0}, pollfd{process.get(), POLLIN, 0}};
    std::string fresh;
    while (watched[0].fd >= 0 || watched[1].fd >= 0) {
      if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) break;
      if (watched[0].fd >= 0 && watched[0].revents != 0) {
        fresh.clear();
        if (!drain(stderr_.reader.get(), fresh)) watched[0].fd = -1;
        remember(fresh);
      }
      // Not before everything it said has been read.
      if (watched[1].fd >= 0 && watched[1].revents != 0 && (watched[0].fd < 0 || watched[0].revents == 0))
        break;
    }
    int raw = 0;
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    const std::scoped_lock lock(mutex_);
    while (::waitpid(pid_, &raw, 0) < 0 && errno == EINTR) {
    }
    status_ = ExitStatus{WIFEXITED(raw) ? WEXITSTATUS(raw) : 0, WIFSIGNALED(raw) ? WTERMSIG(raw) : 0};
    changed_.notify_all();
  }

  void remember(const std::string& fresh) {
    const std::scoped_lock lock(mutex_);
    stderr_text_ += fresh;
    if (stderr_text_.size() > kStderrBytesMax) stderr_text_.erase(0, stderr_text_.size() - kStderrBytesMax);
  }

  PlanStrings strings_;
  Plan plan_;
  FileDescriptor null_;
  Pipe stderr_;
  pid_t pid_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false;
  std::optional<Error> start_error_;
  std::optional<ExitStatus> status_;
  std::string stderr_text_;
  std::thread thread_;
};

Child::Child(std::unique_ptr<Keeper> keeper) : keeper_(std::move(keeper)) {}
Child::Child(Child&&) noexcept = default;
Child& Child::operator=(Child&&) noexcept = default;
Child::~Child() = default;
pid_t Child::pid() const { return keeper_->pid(); }
SandboxLevel Child::level() const { return keeper_->level(); }
std::optional<ExitStatus> Child::wait_for(milliseconds timeout) { return keeper_->wait_for(timeout); }
void Child::kill() { keeper_->kill(); }
std::string Child::stderr_text() const { return keeper_->stderr_text(); }

std::string Child::stderr_last_line() const {
  const std::string text = stderr_text();
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return {};
  const std::size_t before = text.find_last_of('\n', last);
  const std::size_t first = before == std::string::npos ? 0 : before + 1;
  return printable(text.substr(first, last + 1 - first));
}

Child spawn_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                      std::span<const FdMapping> fds) {
  return Child(std::make_unique<Child::Keeper>(argv, policy, fds));
}

ToolOutput run_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                         const OutputSink& sink, milliseconds timeout, std::span<const FdMapping> fds) {
  const auto deadline = steady_clock::now() + timeout;
  const auto left = [&] {
    return std::max(std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()),
                    milliseconds(0));
  };
  const auto throw_late = [&] {
    throw Error(ErrorCode::kIo,
                fmt::format("{} took longer than {} ms", program_name(argv), timeout.count()));
  };
  Pipe out;
  set_nonblocking(out.reader);
  std::vector<FdMapping> all_fds(fds.begin(), fds.end());
  all_fds.push_back({out.writer.get(), STDOUT_FILENO});
  Child child = spawn_sandboxed(argv, policy, all_fds);
  out.writer.reset();

  std::string piece;
  for (bool open = true; open;) {
    pollfd watched{out.reader.get(), POLLIN, 0};
    const int ready = ::poll(&watched, 1, static_cast<int>(left().count()));
    if (ready == 0) throw_late();
    if (ready < 0) continue;  // a signal
    piece.clear();
    open = drain(out.reader.get(), piece);
    sink(piece);
  }
  const auto status = child.wait_for(left());
  if (!status) throw_late();
  return {*status, {}, child.stderr_text(), child.stderr_last_line()};
}

ToolOutput run_sandboxed(const std::vector<std::string>& argv, const SandboxPolicy& policy,
                         std::size_t output_bytes_max, milliseconds timeout, std::span<const FdMapping> fds) {
  std::string collected;
  const OutputSink collect = [&](std::string_view piece) {
    collected += piece;
    if (collected.size() <= output_bytes_max) return;
    throw Error(ErrorCode::kLimit,
                fmt::format("{} wrote more than {}", program_name(argv), format_bytes(output_bytes_max)));
  };
  ToolOutput result = run_sandboxed(argv, policy, collect, timeout, fds);
  result.out = std::move(collected);
  return result;
}

std::string find_helper(std::string_view name) {
  std::vector<fs::path> folders;
  if (const char* chosen = std::getenv("VMPACK_HELPER_DIR"); chosen != nullptr && *chosen != '\0') {
    folders.emplace_back(chosen);
  }
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) folders.push_back(self.parent_path().parent_path() / "libexec" / "vmpack");
  // Only for programs that run in the build tree: nothing installed may start what somebody left there.
  if (!failed && self.native().starts_with(VMPACK_BUILD_DIR "/")) {
    folders.emplace_back(VMPACK_BUILD_DIR "/libvmpack/inspect");
    folders.emplace_back(VMPACK_BUILD_DIR "/libvmpack/source");
  }
  folders.emplace_back(VMPACK_INSTALL_HELPER_DIR);
  for (const fs::path& folder : folders) {
    const fs::path program = fs::canonical(folder / name, failed);
    if (!failed && ::access(program.c_str(), X_OK) == 0) return program;
  }
  std::vector<std::string> looked;
  for (const fs::path& folder : folders) looked.push_back(folder);
  throw Error(ErrorCode::kNotFound,
              fmt::format("helper program {} not found in {}", name, fmt::join(looked, ", ")),
              "reinstall vmpack, or name the folder in VMPACK_HELPER_DIR");
}

std::string find_program(std::string_view name, std::string_view package) {
  const char* path = std::getenv("PATH");
  std::string folders = path != nullptr ? path : "";
  folders += ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
  for (std::size_t start = 0; start < folders.size();) {
    const std::size_t end = std::min(folders.find(':', start), folders.size());
    const std::string candidate = fmt::format("{}/{}", folders.substr(start, end - start), name);
    if (candidate.starts_with('/') && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    start = end + 1;
  }
  throw Error(ErrorCode::kNotFound, fmt::format("{} is not installed", name),
              fmt::format("install the package {}", package));
}

}  // namespace vmpack
