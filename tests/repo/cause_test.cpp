// SPDX-License-Identifier: Apache-2.0
// Why bytes are new: rules on paths and on what happened to a file.
#include "libvmpack/repo/cause.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "libvmpack/repo/package_evidence.hpp"

using namespace vmpack;

namespace {

Cause cause_of(std::string_view path, bool in_both = true) {
  FileEvidence evidence;
  evidence.path = path;
  evidence.in_both = in_both;
  return cause_of_file(evidence);
}

}  // namespace

TEST_CASE("where a file lies tells its cause first") {
  for (const bool in_both : {true, false}) {
    CHECK(cause_of("/boot/initrd.img-6.1.0-10-amd64", in_both) == Cause::kInitrd);
    CHECK(cause_of("/initramfs-linux.img", in_both) == Cause::kInitrd);
    CHECK(cause_of("/boot/vmlinuz-6.1.0-10-amd64", in_both) == Cause::kKernel);
    CHECK(cause_of("/usr/lib/modules/6.1.0/kernel/fs/xfs.ko", in_both) == Cause::kKernel);
    CHECK(cause_of("/usr/lib/modules/6.1.0/modules.dep", in_both) == Cause::kCache);
    CHECK(cause_of("/var/cache/apt/pkgcache.bin", in_both) == Cause::kCache);
    CHECK(cause_of("/var/lib/apt/lists/deb_InRelease", in_both) == Cause::kCache);
    CHECK(cause_of("/var/lib/apt/extended_states", in_both) == Cause::kPackageDatabase);
    CHECK(cause_of("/var/lib/dpkg/status", in_both) == Cause::kPackageDatabase);
    CHECK(cause_of("/usr/lib/python3/__pycache__/a.cpython-311.pyc", in_both) == Cause::kCache);
    CHECK(cause_of("/etc/ld.so.cache", in_both) == Cause::kCache);
    CHECK(cause_of("/var/log/dpkg.log", in_both) == Cause::kLog);
    CHECK(cause_of("/etc/machine-id", in_both) == Cause::kIdentifier);
    CHECK(cause_of("/etc/ssh/ssh_host_rsa_key", in_both) == Cause::kIdentifier);
    CHECK(cause_of("/boot/grub/grub.cfg", in_both) == Cause::kIdentifier);
    CHECK(cause_of("/etc/ssh/sshd_config", in_both) == Cause::kSettings);
    CHECK(cause_of("/pagefile.sys", in_both) == Cause::kSwap);
  }
  CHECK(cause_of("/srv/initrd") == Cause::kChanged);
  CHECK(cause_of("/srv/data") == Cause::kChanged);
  CHECK(cause_of("/srv/data", false) == Cause::kAdded);
  CHECK(cause_of("no path at all") == Cause::kChanged);
  CHECK(cause_of("") == Cause::kChanged);
}

TEST_CASE("a file that was unpacked anew in a package's folder is a new version of its package") {
  FileEvidence evidence{"/usr/bin/tool", true, false, false, true, false};
  CHECK(cause_of_file(evidence) == Cause::kPackage);
  evidence.packages_stay = true;
  CHECK(cause_of_file(evidence) == Cause::kChanged);
  evidence.packages_stay = false;
  evidence.from_archive = false;  // written in place
  CHECK(cause_of_file(evidence) == Cause::kChanged);
  evidence.path = "/usr/local/bin/tool";
  evidence.from_archive = true;
  CHECK(cause_of_file(evidence) == Cause::kChanged);
  evidence = {"/usr/lib/libz.so.1.2.14", false, false, true, false, false};
  CHECK(cause_of_file(evidence) == Cause::kPackage);
  evidence.other_version = false;
  CHECK(cause_of_file(evidence) == Cause::kAdded);
  evidence.same_content = true;
  CHECK(cause_of_file(evidence) == Cause::kSameContent);
}

TEST_CASE("every cause has a name of its own") {
  std::set<std::string_view> keys;
  std::set<std::string_view> descriptions;
  for (std::size_t i = 0; i < kCauseCount; ++i) {
    keys.insert(to_string(static_cast<Cause>(i)));
    descriptions.insert(describe(static_cast<Cause>(i)));
  }
  CHECK(keys.size() == kCauseCount);
  CHECK(descriptions.size() == kCauseCount);
}

TEST_CASE("dpkg's records and changelogs tell which package a file came with") {
  constexpr std::int64_t kBuilt = 1'700'000'000'000'000'000;
  PackageEvidence evidence;
  CHECK_FALSE(evidence.packages_stay());
  evidence.add_file("/var/lib/dpkg/info/other.list", 1, true, true);
  CHECK(evidence.packages_stay());
  evidence.add_file("/var/lib/dpkg/info/tool.list", 1, true, true);
  evidence.add_file("/var/lib/dpkg/info/tool.md5sums", 2, true, false);
  evidence.add_file("/var/lib/dpkg/info/libtool1:amd64.list", 2, true, false);
  evidence.add_file("/var/lib/dpkg/info/new.list", 2, false, false);
  for (const std::string package : {"tool", "libtool1", "other"}) {
    evidence.add_file("/usr/share/doc/" + package + "/changelog.Debian.gz", kBuilt, true, false);
    evidence.add_file("/usr/share/doc/" + package + "/changelog.gz", kBuilt - 1, true, false);
  }
  evidence.add_file("/usr/share/doc/tool/README", kBuilt + 1, true, false);
  evidence.settle();
  CHECK_FALSE(evidence.packages_stay());
  CHECK(evidence.package_of("/usr/bin/tool", kBuilt) == "tool");
  CHECK(evidence.package_of("/usr/bin/tool", kBuilt - 1).empty());
  CHECK(evidence.package_of("/usr/bin/tool", kBuilt + 1).empty());
  CHECK(evidence.package_of("/usr/share/doc/libtool1/copyright", 5) == "tool");
  CHECK(evidence.package_of("/usr/share/doc/new/copyright", 5) == "new");
  CHECK(evidence.package_of("/usr/share/doc/other/copyright", 5).empty());
  REQUIRE(evidence.groups().size() == 2);
  CHECK(evidence.groups().at("tool").built_with == std::vector<std::string>{"libtool1"});
  CHECK(evidence.groups().at("new").built_with.empty());
}

TEST_CASE("versions of packages tell what changed") {
  PackageEvidence same;
  same.add_versions({{"same", "1", "1"}, {"gone", "1", ""}});
  same.settle();
  CHECK(same.packages_stay());
  CHECK(same.groups().empty());
  PackageEvidence evidence;
  evidence.add_versions({{"same", "1", "1"}, {"newer", "1", "2"}, {"added", "", "1"}});
  evidence.add_file("/var/lib/dpkg/info/newer.list", 1, true, false);
  evidence.settle();
  CHECK_FALSE(evidence.packages_stay());
  REQUIRE(evidence.groups().size() == 2);
  CHECK(evidence.groups().at("newer").versions.before == "1");
  CHECK(evidence.groups().at("newer").versions.after == "2");
}
