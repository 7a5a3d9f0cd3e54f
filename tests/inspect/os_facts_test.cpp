// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <cstdlib>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/kvm_verdict.hpp"
#include "libvmpack/inspect/os_facts.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

TEST_CASE("OS facts are the same after a trip through JSON") {
  OsFacts facts;
  facts.systems.push_back({"/dev/sda2",
                           "linux",
                           "debian",
                           "Debian GNU/Linux 12 (bookworm)",
                           "12.5",
                           "x86_64",
                           "host",
                           "deb",
                           {{"bash", "5.2-1", "amd64"}, {"zlib1g", "1:1.2.13", "amd64"}}});
  const OsFacts read = os_facts_from_json(to_json(facts), "a note");
  REQUIRE(read.systems.size() == 1);
  const OperatingSystem& system = read.systems.front();
  CHECK(system.root == "/dev/sda2");
  CHECK(system.product_name == "Debian GNU/Linux 12 (bookworm)");
  CHECK(system.version == "12.5");
  CHECK(system.package_format == "deb");
  REQUIRE(system.packages.size() == 2);
  CHECK(system.packages[1].name == "zlib1g");
  CHECK(system.packages[1].version == "1:1.2.13");
  CHECK(to_json(read) == to_json(facts));
  CHECK(os_facts_from_json(to_json({}), "a note").systems.empty());
}

TEST_CASE("names that are no UTF-8 still make JSON") {
  OsFacts facts;
  facts.systems.push_back({.hostname = "\xff\xfe"});
  CHECK(os_facts_from_json(to_json(facts), "a note").systems.size() == 1);
}

TEST_CASE("what holds no OS facts is refused with the name of the place") {
  for (const char* text : {"", "{", "[]", "{}", "{\"systems\": 1}", "{\"systems\": [{}]}",
                           "{\"systems\": [1]}", "{\"systems\": [{\"root\": 1}]}"}) {
    const Error error = error_of([text] { static_cast<void>(os_facts_from_json(text, "notes/os.json")); });
    CHECK(error.code() == ErrorCode::kDamaged);
    CHECK(std::string_view(error.what()).find("notes/os.json") != std::string_view::npos);
  }
}

TEST_CASE("KVM that was found broken is not tried again before the next boot") {
  const TempDir folder;
  ::setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
  const std::string device = folder / "kvm";
  CHECK_FALSE(kvm_may_work(device.c_str()));
  write_file(device, "");
  CHECK(kvm_may_work(device.c_str()));
  remember_broken_kvm();
  CHECK_FALSE(kvm_may_work(device.c_str()));
  write_file(folder / "vmpack/kvm-broken", "the id of another boot\n");
  CHECK(kvm_may_work(device.c_str()));
  ::unsetenv("XDG_CACHE_HOME");
}

}  // namespace vmpack::test
