// SPDX-License-Identifier: Apache-2.0
// The helper with libguestfs: what a user is told when it cannot work, and a real appliance where there is
// one.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "libvmpack/inspect/appliance_session.hpp"
#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"

namespace vmpack::test {
namespace {

constexpr auto kSoon = std::chrono::seconds(20);
constexpr auto kNap = std::chrono::milliseconds(10);

/// A script in the place of vmpack-appliance-helper; caches of this test's own.
class FakeHelper {
 public:
  explicit FakeHelper(const std::string& script) {
    const std::string path = folder_ / "vmpack-appliance-helper";
    write_file(path, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(path, std::filesystem::perms(0755));
    ::setenv("VMPACK_HELPER_DIR", folder_.path().c_str(), 1);
    ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1);
  }
  ~FakeHelper() {
    ::unsetenv("VMPACK_HELPER_DIR");
    ::unsetenv("XDG_CACHE_HOME");
  }
  FakeHelper(const FakeHelper&) = delete;
  FakeHelper& operator=(const FakeHelper&) = delete;

  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_ / name; }

 private:
  TempDir folder_;
};

/// True when the process, whose number is given as text, is gone or waits to be buried by init.
bool ends_soon(const Bytes& pid) {
  std::string number(as_text(pid));
  std::erase(number, '\n');
  for (const auto end = std::chrono::steady_clock::now() + kSoon; std::chrono::steady_clock::now() < end;) {
    std::ifstream file("/proc/" + number + "/stat");
    std::string name, state;
    if (!(file >> number >> name >> state) || state == "Z") return true;
    std::this_thread::sleep_for(kNap);
  }
  return false;
}

ApplianceSession::Facts look(std::chrono::seconds time_max = kSoon) {
  return ApplianceSession::start({.raw_path = "/image"}, kSectorBytes, time_max)->facts();
}

}  // namespace

TEST_CASE("what the helper prints comes back, sorted and safe to show") {
  const FakeHelper helper(
      R"(printf 'launched\n{"systems":[{"root":"/dev/sda1","type":"linux","distribution":"debian","product_name":"D\\u001b",'
printf '"version":"12","architecture":"x86_64","hostname":"h","package_format":"deb","packages":['
printf '{"name":"z","version":"1","architecture":"all"},{"name":"a","version":"2","architecture":"all"}]}]}')");
  const ApplianceSession::Facts result = look();
  CHECK(result.failure.empty());
  REQUIRE(result.facts.systems.size() == 1);
  CHECK(result.facts.systems.front().product_name.find('\x1b') == std::string::npos);
  CHECK(result.facts.systems.front().packages.front().name == "a");
}

TEST_CASE("a helper that fails says why") {
  const FakeHelper helper("echo 'error while loading shared libraries: libguestfs.so.0' >&2; exit 127");
  CHECK(look().failure == "error while loading shared libraries: libguestfs.so.0");
}

TEST_CASE("a helper that prints nonsense is a failure") {
  const FakeHelper helper("printf 'launched\\nnonsense'");
  CHECK_FALSE(look().failure.empty());
}

TEST_CASE("a helper that takes too long is stopped, and what it started too") {
  const FakeHelper helper("sleep 1000 & echo $! > ${0%/*}/pid; echo launched; wait");
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(look(std::chrono::seconds(2)).failure.empty());
  CHECK(std::chrono::steady_clock::now() - start < kSoon);
  CHECK(ends_soon(read_file(helper / "pid")));
}

TEST_CASE("a session that nobody waits for ends with its object") {
  const FakeHelper helper("sleep 1000 & echo $! > ${0%/*}/pid; wait");
  const auto start = std::chrono::steady_clock::now();
  {
    const auto session =
        ApplianceSession::start({.raw_path = "/image"}, kSectorBytes, std::chrono::seconds(1000));
    while (!std::filesystem::exists(helper / "pid"))
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(std::chrono::steady_clock::now() - start < kSoon);
}

TEST_CASE("broken KVM is found out once and remembered") {
  if (::access("/dev/kvm", R_OK | W_OK) != 0) return;
  const FakeHelper helper(R"(echo $3 >> ${0%/*}/attempts
[ $3 = tcg ] || exit 1
printf 'launched\n{"systems":[]}')");
  CHECK(look().failure.empty());
  CHECK(look().failure.empty());
  const Bytes attempts = read_file(helper / "attempts");
  CHECK(as_text(attempts) == "kvm\ntcg\ntcg\n");
}

TEST_CASE("an image that libguestfs cannot reach is a failure, not an exception") {
  const FakeHelper helper("exit 0");
  CHECK_FALSE(ApplianceSession::start({}, kSectorBytes, kSoon)->facts().failure.empty());
  CHECK_FALSE(
      ApplianceSession::start({.nbd_uri = "nbds://host/x"}, kSectorBytes, kSoon)->facts().failure.empty());
}

TEST_CASE("a real appliance reads a Debian root file system") {
  if (!std::filesystem::exists("/usr/lib/x86_64-linux-gnu/guestfs/supermin.d")) return;
  const TempDir folder;
  const std::string tree = folder / "tree";
  for (const char* path : {"/etc", "/bin", "/lib", "/usr/lib", "/var/lib/dpkg", "/boot", "/dev", "/root"}) {
    std::filesystem::create_directories(tree + path);
  }
  std::filesystem::copy_file("/bin/true", tree + "/bin/ls");
  std::filesystem::copy_file("/bin/true", tree + "/bin/sh");
  write_file(tree + "/etc/os-release",
             "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (test)\"\n");
  write_file(tree + "/etc/debian_version", "12.5\n");
  write_file(tree + "/etc/hostname", "sample\n");
  write_file(tree + "/etc/fstab", "");
  write_file(tree + "/var/lib/dpkg/status",
             "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n\n");
  make_file_system(folder / "image", tree, 64 * kMiB, {"-t", "ext4"});
  const ApplianceSession::Facts result =
      ApplianceSession::start({.raw_path = folder / "image"}, kSectorBytes, std::chrono::seconds(500))
          ->facts();
  CHECK(result.failure == "");
  REQUIRE(result.facts.systems.size() == 1);
  const OperatingSystem& system = result.facts.systems.front();
  CHECK(system.distribution == "debian");
  CHECK(system.version == "12.5");
  CHECK(system.product_name == "Debian GNU/Linux 12 (test)");
  REQUIRE(system.packages.size() == 1);
  CHECK(system.packages.front().version == "5.2-1");
}

}  // namespace vmpack::test
