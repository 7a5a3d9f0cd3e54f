// SPDX-License-Identifier: Apache-2.0
// vmpack diff: two builds of a small system, and everything that is not the same in them.
#include <fmt/core.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>

#include "libvmpack/base/sector_diff.hpp"
#include "libvmpack/repo/repository.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

constexpr int kDiffer = 3;

/// A tree of files that becomes an image; all times are the same unless a file is touched.
class Tree {
 public:
  void add(const std::string& path, ByteView bytes) {
    const std::string file = folder_.path() + path;
    fs::create_directories(fs::path(file).parent_path());
    write_file(file, bytes);
    touch(path, 1'600'000'000);
  }
  void add(const std::string& path, std::uint64_t seed, std::size_t bytes) {
    add(path, random_bytes(seed, bytes));
  }
  void add(const std::string& path, std::string_view text) { add(path, as_byte_view(text)); }
  void link(const std::string& path, const std::string& target) {
    fs::create_symlink(target, folder_.path() + path);
  }
  void touch(const std::string& path, std::int64_t seconds) {
    fs::last_write_time(folder_.path() + path, fs::file_time_type::clock::from_sys(
                                                   std::chrono::sys_seconds(std::chrono::seconds(seconds))));
  }
  void set_mode(const std::string& path, unsigned mode) {
    fs::permissions(folder_.path() + path, static_cast<fs::perms>(mode));
  }
  void make(const std::string& image) const {
    make_file_system(image, folder_.path(), 24 * kMiB, {"-t", "ext4", "-b", "4096"});
  }

 private:
  TempDir folder_;
};

void add_common(Tree& tree) {
  tree.add("/usr/bin/same", 1, 300 * kKiB);
  tree.add("/usr/bin/tool", 2, 20 * kKiB);
  tree.set_mode("/usr/bin/tool", 0644);
  tree.add("/var/retimed", 3, 4 * kKiB);
}

struct Builds {
  SampleRepository repository;

  Builds() {
    Tree before;
    add_common(before);
    before.add("/etc/config", "one = 1\ntwo = 2\n");
    before.add("/etc/removed", "gone\n");
    before.add("/srv/old/name", 4, 80 * kKiB);
    before.link("/etc/link", "config");
    before.make(repository / "a");
    Tree after;
    add_common(after);
    after.add("/etc/config", "one = 1\ntwo = 22\n");
    after.add("/etc/added\x1b[2J", "new\n");
    after.add("/srv/new/name", 4, 80 * kKiB);
    after.link("/etc/link", "added");
    after.set_mode("/usr/bin/tool", 0755);
    after.touch("/var/retimed", 1'700'000'000);
    after.make(repository / "b");
    repository.ingest(repository / "a", "build:1");
    repository.ingest(repository / "b", "build:2");
  }

  [[nodiscard]] CommandResult diff(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "diff");
    arguments.insert(arguments.end(), {"--repo", repository.path()});
    CommandOptions options;
    options.folder = repository.folder();
    return vmpack(arguments, options);
  }
  [[nodiscard]] OrderedJson diff_json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const CommandResult result = diff(arguments);
    INFO(result.err);
    REQUIRE((result.exit_code == 0 || result.exit_code == kDiffer));
    OrderedJson json = OrderedJson::parse(result.out);
    REQUIRE(json.at("differ") == (result.exit_code == kDiffer));
    return json;
  }

  void add_facts(const std::string& reference, const std::string& packages) const {
    const auto opened = Repository::open(open_store(repository.path()));
    opened->put_note(
        opened->resolve(reference), "os/facts",
        fmt::format(R"({{"systems": [{{"root": "/dev/sda", "type": "linux", "distribution": "debian",
                                 "product_name": "Debian 12", "version": "12", "architecture": "x86_64",
                                 "hostname": "h", "package_format": "deb", "packages": [{}]}}]}})",
                    packages));
  }
};

std::string package(const std::string& name, const std::string& version) {
  return fmt::format(R"({{"name": "{}", "version": "{}", "architecture": "amd64"}})", name, version);
}

/// "changed /path content mode" of each difference but folders'.
std::vector<std::string> told(const OrderedJson& found) {
  std::vector<std::string> lines;
  for (const OrderedJson& difference : found.at("files").at("differences")) {
    const OrderedJson& file = difference.contains("after") ? difference.at("after") : difference.at("before");
    if (file.at("type") == "folder") continue;
    std::string line =
        difference.at("fate").get<std::string>() + " " + difference.at("path").get<std::string>();
    if (difference.contains("changes")) {
      for (const OrderedJson& change : difference.at("changes")) line += " " + change.get<std::string>();
    }
    lines.push_back(line);
  }
  return lines;
}

const std::vector<std::string> kExpected = {"added /etc/added\x1b[2J",   "changed /etc/config content",
                                            "changed /etc/link content", "removed /etc/removed",
                                            "moved /srv/new/name",       "changed /usr/bin/tool mode"};

std::vector<ByteRange> differing_sectors(const std::string& a, const std::string& b) {
  std::vector<ByteRange> ranges;
  add_differing_sectors(0, read_file(a), read_file(b), ranges);
  return ranges;
}

std::vector<ByteRange> ranges_of(const OrderedJson& found) {
  std::vector<ByteRange> ranges;
  for (const OrderedJson& range : found.at("blocks").at("ranges"))
    ranges.push_back({range.at("offset").get<std::uint64_t>(), range.at("length").get<std::uint64_t>()});
  return ranges;
}

void require_words(const std::string& text, const std::vector<std::string>& words) {
  INFO(text);
  for (const std::string& word : words) {
    INFO(word);
    CHECK(text.find(word) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("two snapshots differ in what was changed, and in nothing else") {
  const Builds builds;
  const OrderedJson found = builds.diff_json({"build:1", "build:2"});
  INFO(found.dump(2));
  CHECK(told(found) == kExpected);
  CHECK(found.at("files").at("only_time") >= 1);
  CHECK(found.at("files").at("content") == 2);
  CHECK(found.at("files").at("moved") == 1);
  const auto ranges = differing_sectors(builds.repository / "a", builds.repository / "b");
  CHECK(ranges_of(found) == ranges);
  CHECK(found.at("packages_unknown").get<std::string>().find("build:1") != std::string::npos);
}

TEST_CASE("a snapshot and itself are the same") {
  const Builds builds;
  const OrderedJson found = builds.diff_json({"build:2", "build:2"});
  CHECK(found.at("files").at("differences").empty());
  CHECK(found.at("blocks").at("bytes") == 0);
  const CommandResult text = builds.diff({"build:2", "build:2"});
  CHECK(text.exit_code == 0);
  require_words(text.out, {"build:2 -> build:2", "blocks    the same", "files     the same"});
}

TEST_CASE("an image that was not ingested differs as it would if it were") {
  const Builds builds;
  const OrderedJson stored = builds.diff_json({"build:1", "build:2"});
  for (const std::string& image : {std::string("b"), std::string("./b"), builds.repository / "b"}) {
    INFO(image);
    const OrderedJson found = builds.diff_json({"build:1", image, "--no-os"});
    CHECK(found.at("files") == stored.at("files"));
    CHECK(found.at("blocks") == stored.at("blocks"));
  }
  const OrderedJson both = builds.diff_json({"a", "b", "--no-os"});
  CHECK(both.at("files") == stored.at("files"));
  CHECK(both.at("blocks") == stored.at("blocks"));
  CHECK(builds.diff_json({"b", "build:2", "--no-os"}).at("differ") == false);
  // A reference comes first, whatever lies in the folder.
  write_file(builds.repository / "build", "no image");
  builds.repository.ingest(builds.repository / "b", "build:latest");
  CHECK(builds.diff_json({"build", "build:2"}).at("differ") == false);
}

TEST_CASE("the text is for people, and for their terminals") {
  const Builds builds;
  const CommandResult summary = builds.diff({"build:1", "build:2"});
  CHECK(summary.exit_code == kDiffer);
  require_words(summary.out, {"build:1 -> build:2", "ranges", "2 changed, ", "1 moved", "packages",
                              "/etc/config", "16 B -> 17 B"});
  CHECK(summary.out.find('\x1b') == std::string::npos);
  const CommandResult files = builds.diff({"build:1", "build:2", "--files"});
  CHECK(files.exit_code == kDiffer);
  require_words(files.out,
                {"moved    /srv/old/name -> /srv/new/name", "changed  /usr/bin/tool  (mode 0644 -> 0755)",
                 "leads to added, not config", "removed  /etc/removed", "/etc/added?[2J", "total: "});
  const CommandResult quiet = builds.diff({"build:1", "build:2", "--quiet"});
  CHECK(quiet.exit_code == kDiffer);
  CHECK(quiet.out.empty());
}

TEST_CASE("blocks are listed as offset and length") {
  const Builds builds;
  const CommandResult result = builds.diff({"build:1", "build:2", "--blocks"});
  CHECK(result.exit_code == kDiffer);
  std::string expected;
  std::uint64_t bytes = 0;
  const auto ranges = differing_sectors(builds.repository / "a", builds.repository / "b");
  for (const ByteRange& range : ranges) {
    expected += fmt::format("{} {}\n", range.offset, range.length);
    bytes += range.length;
  }
  CHECK(result.out == expected + fmt::format("total {} bytes in {} ranges\n", bytes, ranges.size()));
}

TEST_CASE("packages are told as a release manager reads them") {
  const Builds builds;
  builds.add_facts("build:1",
                   package("bash", "5.2") + "," + package("old", "1") + "," + package("openssl", "3.0.14-1"));
  require_one_line(builds.diff({"build:1", "build:2", "--packages"}), 1, {"build:2", "packages"});
  builds.add_facts("build:2",
                   package("bash", "5.2") + "," + package("new", "2") + "," + package("openssl", "3.0.15-1"));
  const CommandResult text = builds.diff({"build:1", "build:2", "--packages"});
  CHECK(text.exit_code == kDiffer);
  CHECK(text.out ==
        "Debian 12: 1 upgraded, 1 installed, 1 removed\n"
        "  upgraded    openssl 3.0.14-1 -> 3.0.15-1\n"
        "  installed   new 2\n"
        "  removed     old 1\n");
  const OrderedJson found = builds.diff_json({"build:1", "build:2", "--packages"});
  CHECK_FALSE(found.contains("files"));
  CHECK(found.at("systems")[0].at("packages").size() == 3);
  CHECK(builds.diff({"build:1", "build:1", "--packages"}).exit_code == 0);
  require_words(builds.diff({"build:1", "build:2"}).out, {"openssl 3.0.14-1 -> 3.0.15-1"});
}

TEST_CASE("the lines of a text file are compared") {
  const Builds builds;
  const CommandResult text = builds.diff({"build:1", "build:2", "--text", "/etc/config"});
  CHECK(text.exit_code == kDiffer);
  CHECK(text.out ==
        "--- build:1:/etc/config\n+++ build:2:/etc/config\n@@ -1,2 +1,2 @@\n one = 1\n-two = 2\n+two = 22\n");
  CHECK(builds.diff({"a", "b", "--no-os", "--text", "/etc/config"}).exit_code == kDiffer);
  const CommandResult removed = builds.diff({"build:1", "build:2", "--text", "/etc/removed"});
  CHECK(removed.exit_code == kDiffer);
  require_words(removed.out, {"+++ /dev/null", "-gone"});
  const CommandResult same = builds.diff({"build:1", "build:2", "--text", "/var/retimed"});
  CHECK(same.exit_code == 0);
  CHECK(same.out.empty());
  require_one_line(builds.diff({"build:1", "build:2", "--text", "/nothing"}), 1, {"/nothing"});
  require_one_line(builds.diff({"build:1", "build:2", "--text", "/etc"}), 2, {"/etc is a folder"});
}

TEST_CASE("disks with several volumes are compared volume by volume") {
  const SampleRepository repository;
  make_disk_with_two_volumes(repository / "a", 1);
  make_disk_with_two_volumes(repository / "b", 1);
  debugfs((repository / "b") + "?offset=17825792", {"rm /a/one-byte"});
  repository.ingest(repository / "a", "disk:1");
  repository.ingest(repository / "b", "disk:2");
  const CommandResult result = vmpack({"diff", "disk:1", "disk:2", "--files", "--repo", repository.path()});
  CHECK(result.exit_code == kDiffer);
  CHECK(result.out.starts_with("volume 2 (ext2, label sample):\nremoved  /a/one-byte  (1 B)\n"));
}

TEST_CASE("what cannot be compared is said in one line") {
  const Builds builds;
  require_one_line(builds.diff({"build:1", "nothing:7"}), 1, {"nothing:7"});
  require_one_line(builds.diff({"build:1", "./nothing"}), 1, {"./nothing"});
  make_mixed_disk(builds.repository / "noise", 8 * kMiB, 5);
  builds.repository.ingest(builds.repository / "noise", "noise:1");
  require_one_line(builds.diff({"build:1", "noise:1", "--files"}), 1, {"noise:1", "files"});
  const CommandResult summary = builds.diff({"build:1", "noise:1"});
  CHECK(summary.exit_code == kDiffer);
  require_words(summary.out,
                {"the image has 8.0 MiB, not 24.0 MiB", "nothing is known of the files of noise:1"});
  require_one_line(vmpack({"diff", "build:1", "build:2"}), 2, {"build:1", "no repository", "--repo"});
}

}  // namespace vmpack::test
