// SPDX-License-Identifier: Apache-2.0
// vmpack explain: two builds of a small system, and why the second one takes what it takes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

/// Files of a build, with the times that unpacking or writing them gave them.
class Build {
 public:
  explicit Build(std::int64_t built_seconds) : built_seconds_(built_seconds) {}

  void add(const std::string& path, std::uint64_t seed, std::size_t bytes) {
    const std::string file = folder_.path() + path;
    fs::create_directories(fs::path(file).parent_path());
    write_file(file, random_bytes(seed, bytes));
    fs::last_write_time(file, fs::file_time_type::clock::from_sys(
                                  std::chrono::sys_seconds(std::chrono::seconds(built_seconds_))));
  }

  void make(const std::string& image) const {
    make_file_system(image, folder_.path(), 32 * kMiB, {"-t", "ext4", "-b", "4096"});
  }

 private:
  std::int64_t built_seconds_;
  TempDir folder_;
};

struct Builds {
  SampleRepository repository;

  Builds() {
    Build before(1'600'000'000);
    add_common(before);
    before.add("/usr/bin/tool", 10, 200 * kKiB);
    before.add("/usr/share/doc/tool/changelog.gz", 11, 512);
    before.add("/var/lib/dpkg/info/tool.list", 12, 512);
    before.add("/boot/initrd.img-6.1.0-9", 13, 100 * kKiB);
    before.add("/usr/lib/libz.so.1.2.13", 14, 64 * kKiB);
    before.add("/etc/machine-id", 15, 512);
    before.add("/srv/old/moved", 16, 80 * kKiB);
    before.make(repository / "a");
    Build after(1'700'000'000);
    add_common(after);
    after.add("/usr/bin/tool", 20, 200 * kKiB);
    after.add("/usr/share/doc/tool/changelog.gz", 21, 512);
    after.add("/var/lib/dpkg/info/tool.list", 22, 512);
    after.add("/boot/initrd.img-6.1.0-10", 23, 100 * kKiB);
    after.add("/usr/lib/libz.so.1.2.14", 24, 64 * kKiB);
    after.add("/etc/machine-id", 25, 512);
    after.add("/srv/new/moved", 16, 80 * kKiB);
    after.add("/srv/added", 26, 40 * kKiB);
    after.make(repository / "b");
    overwrite(repository / "b", 28 * kMiB, random_bytes(27, 128 * kKiB));  // residue
    repository.ingest(repository / "a", "build:1");
    repository.ingest(repository / "b", "build:2");
  }

  static void add_common(Build& build) {
    build.add("/usr/bin/same", 1, 300 * kKiB);
    build.add("/usr/share/same", 2, 60 * kKiB);
  }

  [[nodiscard]] OrderedJson explain(const std::string& a, const std::string& b) const {
    return vmpack_json({"explain", a, b, "--repo", repository.path()});
  }
};

std::uint64_t bytes_of(const OrderedJson& json) { return json.at("bytes").get<std::uint64_t>(); }

/// The sums of an explanation are consistent.
void require_sums(const OrderedJson& found) {
  std::uint64_t bytes = 0;
  std::uint64_t stored_bytes = 0;
  for (const auto& [name, cause] : found.at("causes").items()) {
    bytes += bytes_of(cause);
    stored_bytes += cause.at("stored_bytes").get<std::uint64_t>();
  }
  CHECK(found.at("new") == OrderedJson{{"bytes", bytes}, {"stored_bytes", stored_bytes}});
  CHECK(found.at("data_bytes") == bytes_of(found.at("shared")) + bytes);
  const OrderedJson& shared = found.at("shared");
  std::uint64_t kinds = 0;
  for (const std::string kind : {"same_files", "moved_files", "other_files", "outside_files"}) {
    kinds += shared.at(kind).get<std::uint64_t>();
  }
  CHECK(bytes_of(shared) == kinds);
}

}  // namespace

TEST_CASE("new bytes have the cause that the files tell") {
  const Builds builds;
  const OrderedJson found = builds.explain("build:1", "build:2");
  require_sums(found);
  INFO(found.dump(2));
  const auto cause = [&](const std::string& name) { return bytes_of(found.at("causes").at(name)); };
  CHECK(cause("new-package-version") == 264 * kKiB + 512);
  CHECK(cause("rebuilt-initrd") == 100 * kKiB);
  CHECK(cause("package-database") == 512);
  CHECK(cause("identifier") == 512);
  CHECK(cause("added") == 40 * kKiB);
  CHECK(cause("residue") == 128 * kKiB);
  CHECK(cause("fs-metadata") > 0);
  CHECK_FALSE(found.at("causes").contains("changed"));
  CHECK(found.at("shared").at("same_files") == 360 * kKiB);
  CHECK(found.at("shared").at("moved_files") == 80 * kKiB);
  CHECK(found.at("files") ==
        OrderedJson{{"same", 2}, {"retimed", 2}, {"changed", 4}, {"added", 4}, {"moved", 1}, {"removed", 3}});
  const OrderedJson& most = found.at("paths")[0];
  CHECK(most.at("path") == "/usr/bin/tool");
  CHECK(most.at("cause") == "new-package-version");
  CHECK(most.at("package") == "tool");
  CHECK(bytes_of(most) == 200 * kKiB);
  REQUIRE(found.at("packages").size() == 1);
  CHECK(found.at("packages")[0].at("name") == "tool");
  CHECK(bytes_of(found.at("packages")[0]) == 264 * kKiB + 512);
}

TEST_CASE("stored bytes are at most what the second ingest added") {
  const SampleRepository repository;
  make_sample_image(repository / "a", 32 * kMiB, 1);
  make_sample_image(repository / "b", 32 * kMiB, 2);
  repository.ingest(repository / "a", "sample:1");
  const OrderedJson packed = repository.ingest(repository / "b", "sample:2");
  const OrderedJson found = vmpack_json({"explain", "sample:1", "sample:2", "--repo", repository.path()});
  require_sums(found);
  CHECK(bytes_of(found.at("new")) > 0);
  CHECK(found.at("new").at("stored_bytes") > 0);
  CHECK(found.at("new").at("stored_bytes") <= packed.at("stored_bytes"));
}

TEST_CASE("a build shares everything with itself, and nothing with one of other files") {
  const Builds builds;
  const OrderedJson itself = builds.explain("build:2", "build:2");
  require_sums(itself);
  CHECK(itself.at("causes").empty());
  CHECK(itself.at("paths").empty());
  CHECK(bytes_of(itself.at("shared")) == itself.at("data_bytes"));
  make_mixed_disk(builds.repository / "noise", 8 * kMiB, 5);
  builds.repository.ingest(builds.repository / "noise", "noise:1");
  const OrderedJson other = builds.explain("build:1", "noise:1");
  require_sums(other);
  CHECK(bytes_of(other.at("shared")) == 0);
  CHECK(other.at("files").at("removed") == 9);
}

TEST_CASE("the text is readable in a hundred columns") {
  const Builds builds;
  const std::string text =
      vmpack_done({"explain", "build:1", "build:2", "--top", "3", "--repo", builds.repository.path()});
  INFO(text);
  for (const std::string words :
       {"build:2 shares", "new package versions", "rebuilt initial RAM disks",
        "files that moved to another path", "2 the same (2 of them with another time)",
        "paths that cost most", "/usr/bin/tool"}) {
    INFO(words);
    CHECK(text.find(words) != std::string::npos);
  }
  CHECK(text.find("/srv/added") == std::string::npos);  // the fourth
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = text.find('\n', start);
    CHECK(end - start <= 100);
    start = end + 1;
  }
}

TEST_CASE("a build that is not there cannot be explained") {
  const SampleRepository repository;
  require_one_line(vmpack({"explain", "a:1", "b:1", "--repo", repository.path()}), 1, {"a:1"});
}

}  // namespace vmpack::test
