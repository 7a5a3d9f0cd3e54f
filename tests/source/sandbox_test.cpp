// SPDX-License-Identifier: Apache-2.0
// What a program in the sandbox can do, found out by being one: shell scripts that try.
#include "libvmpack/source/sandbox.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using test::TempDir;
using test::write_file;

ToolOutput shell(const std::string& script, const SandboxPolicy& policy = {}) {
  return run_sandboxed({"/bin/sh", "-c", script}, policy, 64 * kKiB, 10s);
}

bool as_root() { return ::geteuid() == 0; }

TEST_CASE("a sandboxed program runs and hands back what it prints") {
  const ToolOutput result = shell("echo out; echo err >&2; exit 3");
  CHECK(result.out == "out\n");
  CHECK(result.error_line == "err");
  CHECK(result.status.code == 3);
  CHECK(result.status.describe() == "exit code 3");
}

TEST_CASE("a sandboxed program cannot see /etc/shadow, home folders or other processes") {
  CHECK(shell("ls -A /etc").out == "ld.so.cache\n");
  CHECK_FALSE(shell("test -e /etc/shadow").status.success());
  CHECK_FALSE(shell("cat /etc/shadow").status.success());
  CHECK_FALSE(shell("test -e /root || test -e /home || test -e /tmp || test -e /proc/self").status.success());
  CHECK(shell("ls -A /dev").out == "null\nurandom\nzero\n");
}

TEST_CASE("a sandboxed program cannot leave its root through the one it came from") {
  CHECK(shell("cd /../..; ls -A /../../etc").out == "ld.so.cache\n");
}

TEST_CASE("a sandboxed program has no privileges and gains none") {
  const std::string status = shell("id -u; id -g").out;
  CHECK(status == "65534\n65534\n");
#if defined(__x86_64__)  // system calls by number: /proc is not there, so the program asks the kernel
  const ToolOutput result = run_sandboxed(
      {"/usr/bin/perl", "-e", "printf('%d %d', syscall(157, 39, 0, 0, 0, 0), syscall(157, 23, 1, 0, 0, 0))"},
      {}, kKiB, 10s);
  CHECK(result.out == "1 0");  // PR_GET_NO_NEW_PRIVS is set, CAP_DAC_OVERRIDE is not in the bounding set
#endif
}

TEST_CASE("a sandboxed program cannot write anywhere") {
  TempDir folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  SandboxPolicy policy;
  policy.readable_paths = {folder.path()};
  policy.read_any_file = true;
  CHECK_FALSE(shell("echo x > " + (folder / "new"), policy).status.success());
  CHECK_FALSE(shell("echo x > /new").status.success());
  CHECK_FALSE(shell("mkdir /usr/new").status.success());
  CHECK(shell("echo x > /dev/null").status.success());
}

TEST_CASE("a sandboxed program sees the paths it was given and nothing beside them") {
  TempDir folder;
  write_file(folder / "mine", "mine");
  write_file(folder / "other", "other");
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  ::chmod((folder / "mine").c_str(), 0644);
  SandboxPolicy policy;
  policy.readable_paths = {folder / "mine"};
  const ToolOutput result = shell("cat " + (folder / "mine") + "; ls " + folder.path(), policy);
  CHECK(result.out == "minemine\n");
}

TEST_CASE("only with read_any_file does a sandboxed program read what only its owner may") {
  if (!as_root()) return;  // others own what they read
  TempDir folder;
  write_file(folder / "secret", "secret");
  ::chmod((folder / "secret").c_str(), 0600);
  SandboxPolicy policy;
  policy.readable_paths = {folder / "secret"};
  CHECK_FALSE(shell("cat " + (folder / "secret"), policy).status.success());
  policy.read_any_file = true;
  CHECK(shell("cat " + (folder / "secret"), policy).out == "secret");
  CHECK(shell("id -u", policy).out == "65534\n");
}

#if defined(__x86_64__)
TEST_CASE("a file is not opened by number past the sandbox") {
  TempDir folder;
  write_file(folder / "mine", "mine");
  SandboxPolicy policy;
  policy.readable_paths = {folder / "mine"};
  policy.read_any_file = true;
  // open_by_handle_at is system call 304 on x86-64; 1 is EPERM, whatever the arguments.
  const ToolOutput result = run_sandboxed(
      {"/usr/bin/perl", "-e", "syscall(304, 0, 0, 0); print $!+0; syscall(303, 0, 0, 0, 0, 0); print $!+0"},
      policy, kKiB, 10s);
  CHECK(result.out == "11");
}
#endif

TEST_CASE("a sandboxed program has no network") {
  const char* const script =
      "use Socket; "
      "print socket(my $s, PF_INET, SOCK_STREAM, 0) ? 'inet ' : 'no inet '; "
      "print socket(my $u, PF_UNIX, SOCK_STREAM, 0) ? 'unix' : 'no unix'";
  CHECK(run_sandboxed({"/usr/bin/perl", "-e", script}, {}, kKiB, 10s).out == "no inet unix");
  SandboxPolicy policy;
  policy.network = true;
  CHECK(run_sandboxed({"/usr/bin/perl", "-e", script}, policy, kKiB, 10s).out == "inet unix");
}

TEST_CASE("a sandboxed program gets the descriptors that it was given, and no others") {
  TempDir folder;
  write_file(folder / "a", "from a");
  write_file(folder / "b", "from b");
  const auto a = FileDescriptor::open(folder / "a", O_RDONLY);
  const auto b = FileDescriptor::open(folder / "b", O_RDONLY);
  const int inheritable = ::fcntl(a.get(), F_DUPFD, 20);
  std::array<int, 2> out{};
  REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
  const FileDescriptor reader(out[0]);
  FileDescriptor writer(out[1]);
  // Each goes where the other comes from.
  const std::array fds{FdMapping{a.get(), b.get()}, FdMapping{b.get(), a.get()}, FdMapping{writer.get(), 1}};
  const std::string script = "cat <&" + std::to_string(b.get()) + "; cat <&" + std::to_string(a.get()) +
                             "; (true <&" + std::to_string(inheritable) + ") 2>/dev/null && echo leaked";
  Child child = spawn_sandboxed({"/bin/bash", "-c", script}, {}, fds);
  writer.reset();
  REQUIRE(child.wait_for(10s));
  std::array<char, 100> text{};
  const auto got = ::read(reader.get(), text.data(), text.size());
  CHECK(std::string(text.data(), static_cast<std::size_t>(got)) == "from afrom b");
  ::close(inheritable);
}

TEST_CASE("a sandboxed program's environment is its own") {
  ::setenv("VMPACK_TEST_SECRET", "secret", 1);
  SandboxPolicy policy;
  policy.environment = {"GIVEN=yes"};
  CHECK(shell("echo \"[$VMPACK_TEST_SECRET] [$GIVEN] [$LC_ALL]\"", policy).out == "[] [yes] [C]\n");
}

TEST_CASE("a sandboxed program that takes too much memory, time or descriptors is stopped") {
  SandboxPolicy policy;
  policy.address_space_bytes = 64 * kMiB;
  policy.cpu_seconds = 1;
  policy.open_files = 32;
  CHECK(shell("ulimit -v; ulimit -t; ulimit -n; ulimit -c", policy).out.ends_with("1\n32\n0\n"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK_FALSE(
      run_sandboxed({"/usr/bin/perl", "-e", "$x = 'x' x 200000000"}, policy, kKiB, 10s).status.success());
#endif
  const ToolOutput spun = shell("while :; do :; done", policy);
  CHECK(spun.status.signal == SIGKILL);
}

TEST_CASE("a tool that does not end in time, or says too much, is stopped with an error") {
  CHECK(error_of([] { static_cast<void>(run_sandboxed({"/bin/sleep", "60"}, {}, kKiB, 200ms)); }).code() ==
        ErrorCode::kIo);
  CHECK(error_of([] { static_cast<void>(run_sandboxed({"/usr/bin/yes"}, {}, kKiB, 10s)); }).code() ==
        ErrorCode::kLimit);
}

TEST_CASE("what a program says on standard error is kept up to a bound, the end of it") {
  Child child = spawn_sandboxed(
      {"/bin/sh", "-c", "yes | head -c 1000000 >&2; printf 'last \\033[31mline\\n\\n' >&2"}, {});
  REQUIRE(child.wait_for(10s));
  CHECK(child.stderr_text().size() <= Child::kStderrBytesMax);
  CHECK(child.stderr_last_line().starts_with("last "));
  CHECK(child.stderr_last_line().find('\033') == std::string::npos);
}

TEST_CASE("destroying a child ends it") {
  pid_t pid = 0;
  {
    Child child = spawn_sandboxed({"/bin/sleep", "60"}, {});
    pid = child.pid();
    CHECK(child.running());
    CHECK(::kill(pid, 0) == 0);
  }
  CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("a child outlives the thread that asked for it") {
  std::optional<Child> child;
  std::thread([&] { child.emplace(spawn_sandboxed({"/bin/sleep", "60"}, {})); }).join();
  CHECK_FALSE(child->wait_for(200ms));
  child->kill();
  const auto status = child->wait_for(10s);
  REQUIRE(status);
  CHECK(status->signal == SIGKILL);
}

TEST_CASE("a child dies with its parent, however that ends") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const pid_t parent = ::fork();
  REQUIRE(parent >= 0);
  if (parent == 0) {
    // In the parent of the child: says which process to watch, and waits for its own end.
    Child child = spawn_sandboxed({"/bin/sleep", "60"}, {});
    const pid_t pid = child.pid();
    static_cast<void>(!::write(ends[1], &pid, sizeof(pid)));
    ::pause();
  }
  pid_t child = 0;
  REQUIRE(::read(ends[0], &child, sizeof(child)) == sizeof(child));
  CHECK(::kill(child, 0) == 0);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  bool gone = false;
  for (int i = 0; i < 100 && !gone; ++i) {
    // Whoever adopts it may not reap it at once.
    std::string facts;
    std::getline(std::ifstream("/proc/" + std::to_string(child) + "/stat"), facts);
    gone = facts.empty() || facts.find(") Z") != std::string::npos;
    std::this_thread::sleep_for(20ms);
  }
  CHECK(gone);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("children can be started from many threads at once") {
  std::array<std::string, 8> outputs;
  std::vector<std::thread> threads;
  for (auto& output : outputs) {
    threads.emplace_back([&output] {
      for (int i = 0; i < 5; ++i) output += shell("echo ok").out;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& output : outputs) CHECK(output == "ok\nok\nok\nok\nok\n");
}

TEST_CASE("a program or path that is not there is an error that names it") {
  const Error missing = error_of([] { static_cast<void>(spawn_sandboxed({"/no/such/program"}, {})); });
  CHECK(missing.code() == ErrorCode::kNotFound);
  CHECK(std::string(missing.what()).find("/no/such/program") != std::string::npos);
  SandboxPolicy policy;
  policy.readable_paths = {"/no/such/image"};
  const Error unseen = error_of([&] { static_cast<void>(spawn_sandboxed({"/bin/true"}, policy)); });
  CHECK(unseen.code() == ErrorCode::kNotFound);
  CHECK(error_of([] { static_cast<void>(find_helper("vmpack-no-such-helper")); }).code() ==
        ErrorCode::kNotFound);
  CHECK(error_of([] { static_cast<void>(find_program("no-such-program", "some-package")); }).hint() ==
        "install the package some-package");
}

TEST_CASE("a path that became a symbolic link is refused") {
  TempDir folder;
  write_file(folder / "target", "target");
  std::filesystem::create_symlink(folder / "target", folder / "link");
  SandboxPolicy policy;
  policy.readable_paths = {folder / "link"};
  CHECK(error_of([&] { static_cast<void>(spawn_sandboxed({"/bin/true"}, policy)); }).code() ==
        ErrorCode::kRefused);
}

TEST_CASE("without root the sandbox is as closed, through a user namespace") {
  if (!as_root()) return;  // the other tests are this one then
  TempDir folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  const pid_t process = ::fork();
  REQUIRE(process >= 0);
  if (process == 0) {
    // Exit codes say what failed; an exception would end the test program a second time.
    if (::setgid(12345) != 0 || ::setuid(12345) != 0) ::_exit(10);
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // as a login's processes are; a change of user clears it
    try {
      if (spawn_sandboxed({"/bin/true"}, {}).level() != SandboxLevel::kUserNamespace) ::_exit(11);
      if (shell("ls -A /etc").out != "ld.so.cache\n") ::_exit(12);
      if (shell("echo x > /tmp/new").status.success()) ::_exit(13);
      ::_exit(0);
    } catch (const Error&) {
      ::_exit(14);
    }
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace vmpack
