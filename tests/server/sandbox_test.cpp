// SPDX-License-Identifier: Apache-2.0
// Tries from inside what a client might make a server try. Each attempt in a process of its own: what was
// given up is gone for good.
#include "server/daemon/sandbox.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

using test::TempDir;

constexpr int kSkipped = 77;

/// A repository with one file, a folder of the server's sockets, and a folder for the cache.
struct World {
  World() {
    for (const char* name : {"repo", "run", "cache"}) std::filesystem::create_directory(folder / name);
    for (const char* name : {"repo/pack", "run/socket", "cache/frame"})
      std::ofstream(folder / name) << "content";
  }
  [[nodiscard]] std::string path(const char* name) const { return folder / name; }
  [[nodiscard]] SandboxNeeds local() const { return {.removable_folders = {path("run")}}; }
  [[nodiscard]] SandboxNeeds with_cache() const {
    return {.writable_folders = {path("cache")}, .removable_folders = {path("run")}};
  }

  TempDir folder;
};

/// 0 when `attempt` was true inside; attempts run in another thread too, started before the calls are
/// restricted.
int inside(const SandboxNeeds& needs, const std::function<bool()>& attempt) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool files = restrict_files(needs);
    std::atomic<bool> go = false;
    bool elsewhere = false;
    std::thread other([&] {
      go.wait(false);
      elsewhere = attempt();
    });
    if (!restrict_calls(needs, files)) ::_exit(kSkipped);
    const bool here = attempt();
    go = true;
    go.notify_all();
    other.join();
    ::_exit(here && elsewhere ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool has_landlock() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(restrict_files({}) ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0;
}

/// The attempt must be refused for want of rights.
bool refused(long result) { return result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS); }

bool opens(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags, 0600);
  if (file >= 0) ::close(file);
  return file >= 0;
}

TEST_CASE("nothing in a repository can be changed, whichever way is tried") {
  const World world;
  const auto pack = world.path("repo/pack");
  const auto fresh = world.path("repo/new");
  // Without Landlock a server with a cache on disk can change files: nothing can tell one folder from
  // another.
  std::vector<SandboxNeeds> all = {world.local()};
  if (has_landlock()) all.push_back(world.with_cache());
  for (const auto& needs : all) {
    const auto attempt = [&](const std::function<long()>& call) {
      const int code = inside(needs, [&] { return refused(call()); });
      return code == 0 || code == kSkipped;
    };
    CHECK(attempt([&] { return ::open(pack.c_str(), O_WRONLY); }));
    CHECK(attempt([&] { return ::open(pack.c_str(), O_RDWR); }));
    CHECK(attempt([&] { return ::open(pack.c_str(), O_RDONLY | O_TRUNC); }));
    CHECK(attempt([&] { return ::open(fresh.c_str(), O_RDONLY | O_CREAT, 0600); }));
    CHECK(attempt([&] { return ::open(world.path("repo").c_str(), O_TMPFILE | O_RDWR, 0600); }));
    CHECK(attempt([&] { return ::creat(fresh.c_str(), 0600); }));
    CHECK(attempt([&] { return ::truncate(pack.c_str(), 0); }));
    CHECK(attempt([&] { return ::unlink(pack.c_str()); }));
    CHECK(attempt([&] { return ::rename(pack.c_str(), fresh.c_str()); }));
    CHECK(attempt([&] { return ::link(pack.c_str(), fresh.c_str()); }));
    CHECK(attempt([&] { return ::symlink(pack.c_str(), fresh.c_str()); }));
    CHECK(attempt([&] { return ::mkdir(fresh.c_str(), 0700); }));
    CHECK(attempt([&] { return ::mkfifo(fresh.c_str(), 0700); }));
    CHECK(attempt([&] { return ::chmod(pack.c_str(), 0777); }));
    CHECK(attempt([&] { return ::chown(pack.c_str(), 1, 1); }));
  }
  CHECK(std::filesystem::file_size(pack) == 7);
  CHECK_FALSE(std::filesystem::exists(fresh));
}

TEST_CASE("no program is started, no process, and no memory is both written and executed") {
  const World world;
  const auto check_refused = [&](const std::function<bool()>& attempt) {
    const int code = inside(world.with_cache(), attempt);
    CHECK((code == 0 || code == kSkipped));
  };
  check_refused([] {
    char* const arguments[] = {nullptr};
    return refused(::execve("/bin/true", arguments, arguments));
  });
  check_refused([] { return refused(::fork()); });
  check_refused([] {
    char name[] = "true";
    char* const arguments[] = {name, nullptr};
    pid_t child = 0;
    return ::posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments, nullptr) != 0;
  });
  check_refused([] {
    return ::mmap(nullptr, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
  });
  check_refused([] {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ::mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0;
  });
}

TEST_CASE("a server of a local repository opens no connections, one of a bucket does") {
  const World world;
  auto needs = world.local();
  const auto makes_a_socket = [] { return ::socket(AF_INET, SOCK_STREAM, 0) >= 0; };
  CHECK(inside(needs, [&] { return !makes_a_socket(); }) != 1);
  needs.network = true;
  CHECK(inside(needs, makes_a_socket) != 1);
}

TEST_CASE("reading goes on, threads can be started, and the files of sockets are removed") {
  const World world;
  CHECK(inside(world.local(), [&] { return opens(world.path("repo/pack"), O_RDONLY); }) != 1);
  CHECK(inside(world.local(), [&] {
          bool ran = false;
          std::thread([&] { ran = true; }).join();
          return ran;
        }) != 1);
  if (!has_landlock()) return;
  // Tried by two threads, of which one finds it gone.
  inside(world.local(), [&] { return ::unlink(world.path("run/socket").c_str()) == 0; });
  CHECK_FALSE(std::filesystem::exists(world.path("run/socket")));
}

TEST_CASE("the folder of the cache, and no other, may hold new files") {
  const World world;
  CHECK(inside(world.with_cache(), [&] {
          const auto from = world.path("cache/a");
          return opens(from, O_RDWR | O_CREAT) && ::rename(from.c_str(), world.path("cache/b").c_str()) == 0;
        }) != 1);
  if (has_landlock())
    CHECK(inside(world.with_cache(), [&] { return !opens(world.path("run/new"), O_RDWR | O_CREAT); }) != 1);
}

TEST_CASE("who is not root cannot become another user, and an unknown user is an error") {
  CHECK_THROWS_AS(become_user("no-such-user-here"), Error);
}

}  // namespace
}  // namespace vmpack
