// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/package_diff.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>

using namespace vmpack;

namespace {

OsFacts facts(std::vector<Package> packages, std::string root = "/dev/sda1") {
  OperatingSystem system;
  system.root = std::move(root);
  system.packages = std::move(packages);
  return {{system}};
}

/// "openssl 1 -> 2" of what is not the same.
std::vector<std::string> told(const OsFacts& before, const OsFacts& after) {
  std::vector<std::string> lines;
  for (const SystemPair& system : pair_packages(before, after)) {
    for (const PackagePair& pair : system.packages) {
      if (pair.fate() == PackageFate::kSame) continue;
      lines.push_back(fmt::format("{} {} -> {}", pair.name, pair.before ? pair.before->version : "none",
                                  pair.after ? pair.after->version : "none"));
    }
  }
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("packages are installed, removed and upgraded") {
  CHECK(told(facts({{"bash", "5", "amd64"}, {"gone", "1", "amd64"}, {"openssl", "3.0.14-1", "amd64"}}),
             facts({{"bash", "5", "amd64"}, {"new", "2", "all"}, {"openssl", "3.0.15-1", "amd64"}})) ==
        Lines{"gone 1 -> none", "new none -> 2", "openssl 3.0.14-1 -> 3.0.15-1"});
}

TEST_CASE("of one name each architecture is its own package") {
  const Package old_64{"libc6", "1", "amd64"};
  const Package old_32{"libc6", "1", "i386"};
  const Package new_64{"libc6", "2", "amd64"};
  const Package new_32{"libc6", "2", "i386"};
  CHECK(told(facts({old_64, old_32}), facts({new_32, new_64})) == Lines{"libc6 1 -> 2", "libc6 1 -> 2"});
  CHECK(told(facts({old_64, old_32}), facts({new_64})) == Lines{"libc6 1 -> 2", "libc6 1 -> none"});
  CHECK(told(facts({old_64}), facts({new_64, new_32})) == Lines{"libc6 1 -> 2", "libc6 none -> 2"});
}

TEST_CASE("a package that became independent of the architecture was not removed") {
  const auto systems = pair_packages(facts({{"tool", "1", "amd64"}}), facts({{"tool", "1", "all"}}));
  REQUIRE(systems.at(0).packages.size() == 1);
  CHECK(systems[0].packages[0].fate() == PackageFate::kReplaced);
}

TEST_CASE("of versions side by side none is said to replace another") {
  const auto kernel = [](const char* version) { return Package{"kernel", version, "x86_64"}; };
  CHECK(told(facts({kernel("5.1"), kernel("5.2")}), facts({kernel("5.2"), kernel("5.3"), kernel("5.4")})) ==
        Lines{"kernel 5.1 -> none", "kernel none -> 5.3", "kernel none -> 5.4"});
  CHECK(told(facts({kernel("5.1"), kernel("5.2")}), facts({kernel("5.2"), kernel("5.3")})) ==
        Lines{"kernel 5.1 -> 5.3"});
}

TEST_CASE("an older version is a downgrade") {
  const auto systems = pair_packages(facts({{"tool", "1:1.0-1", "all"}}), facts({{"tool", "2.0-1", "all"}}));
  CHECK(systems.at(0).packages.at(0).fate() == PackageFate::kDowngraded);
}

TEST_CASE("versions are ordered as dpkg orders them") {
  const std::vector<const char*> ascending = {"~~",    "~~a",   "~",       "",        "1.0~rc1", "1.0",
                                              "1.0-1", "1.0-2", "1.0-10",  "1.0a-1",  "1.0+b1",  "1.0.1-1",
                                              "1.2",   "1.10",  "1.10-1+", "2.0-1-1", "1:0.1"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      INFO(ascending[i] << " and " << ascending[j]);
      CHECK((compare_versions(ascending[i], ascending[j]) == (i <=> j)));
    }
  }
  CHECK((compare_versions("1.0", "0:1.00") == 0));
  CHECK((compare_versions("1.0-0", "1.0") == 0));
}

TEST_CASE("systems are paired by their device, or when they are the only ones left") {
  OsFacts before = facts({{"a", "1", "all"}}, "/dev/sda1");
  before.systems.push_back(facts({{"b", "1", "all"}}, "/dev/sda2").systems[0]);
  OsFacts after = facts({{"b", "2", "all"}}, "/dev/sda2");
  after.systems.push_back(facts({{"a", "2", "all"}}, "/dev/vg/root").systems[0]);
  CHECK(told(before, after) == Lines{"b 1 -> 2", "a 1 -> 2"});
  const auto gone = pair_packages(before, {});
  REQUIRE(gone.size() == 2);
  CHECK(gone[0].after == nullptr);
  CHECK(told(before, {}) == Lines{"a 1 -> none", "b 1 -> none"});
}
