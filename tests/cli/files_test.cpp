// SPDX-License-Identifier: Apache-2.0
// vmpack files and vmpack cat: what lies in an image, without a look into it.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

struct Sample {
  SampleRepository repository;

  explicit Sample(const std::vector<std::string>& options = {"-t", "ext4"}) {
    fs::create_directory(repository / "tree");
    fill_tree(repository / "tree", 1);
    make_file_system(repository / "image", repository / "tree", 32 * kMiB, options);
    repository.ingest(repository / "image", "sample:1");
  }

  [[nodiscard]] CommandResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--repo", repository.path()});
    return vmpack(arguments);
  }
  [[nodiscard]] CommandResult cat(const std::string& path) const { return run({"cat", "sample:1:" + path}); }
};

}  // namespace

TEST_CASE("every file comes out of the image as it went in") {
  const Sample sample;
  const OrderedJson listed = vmpack_json({"files", "sample:1", "-r", "--repo", sample.repository.path()});
  std::size_t files = 0;
  for (const OrderedJson& file : listed.at("files")) {
    const auto path = file.at("path").get<std::string>();
    if (file.at("type") != "file" || path.find("odd") != std::string::npos) continue;
    if (++files % 5 != 0 && path.starts_with("/many")) continue;
    INFO(path);
    const CommandResult result = sample.cat(path);
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
    CHECK((as_byte_view(result.out).size() == file.at("bytes").get<std::size_t>()));
    const Bytes expected = read_file((sample.repository / "tree") + path);
    CHECK((result.out == as_text(expected)));
  }
  CHECK(files == 68);
  const CommandResult odd = sample.cat("/a/deep/odd \xff\n\"name");
  CHECK((odd.out == as_text(read_file((sample.repository / "tree") + "/a/deep/odd \xff\n\"name"))));
}

TEST_CASE("a folder is listed, or all below it") {
  const Sample sample;
  const std::string path = sample.repository.path();
  const std::string text = vmpack_done({"files", "sample:1", "/a", "--repo", path});
  INFO(text);
  CHECK(std::ranges::count(text, '\n') == 4);
  CHECK(text.find("-rw-r--r--") != std::string::npos);
  CHECK(text.find(" 4097 ") != std::string::npos);
  CHECK(text.find("/a/block-and-byte\n") != std::string::npos);
  const std::string all = vmpack_done({"files", "sample:1", "/a", "-r", "--repo", path});
  CHECK(all.find("/a/deep/er/large\n") != std::string::npos);
  CHECK(all.find("/a/deep/odd ??\"name\n") != std::string::npos);
  const std::string link = vmpack_done({"files", "sample:1", "/short-link", "--repo", path});
  CHECK(link.find("lrwxrwxrwx") == 0);
  CHECK(link.find("/short-link -> a/one-byte\n") != std::string::npos);
  CHECK(vmpack_done({"files", "sample:1", "/", "--repo", path}) ==
        vmpack_done({"files", "sample:1", "--repo", path}));
  require_one_line(sample.run({"files", "sample:1", "/nothing"}), 1, {"/nothing", "sample:1"});
}

TEST_CASE("cat follows symlinks, and says what it cannot write") {
  const Sample sample;
  CHECK(sample.cat("/short-link").out == sample.cat("/a/one-byte").out);
  require_one_line(sample.cat("/long-link"), 1, {"/long-link", "symlink", "llll"});
  require_one_line(sample.cat("/a"), 2, {"/a is a folder"});
  require_one_line(sample.cat("/nothing"), 1, {"/nothing", "vmpack files"});
  require_one_line(sample.run({"cat", "sample:1"}), 2, {"REF:/PATH"});
  require_one_line(sample.run({"cat", "other:/a"}), 1, {"other:latest"});
}

TEST_CASE("a snapshot is also named by its digest") {
  const Sample sample;
  const std::string digest =
      vmpack_json({"show", "sample:1", "--repo", sample.repository.path()}).at("snapshot").get<std::string>();
  CHECK(sample.run({"cat", "sample@" + digest.substr(0, 8) + ":/a/one-byte"}).out ==
        sample.cat("/a/one-byte").out);
}

TEST_CASE("content that the file system keeps in the inode is not made up") {
  const Sample sample({"-t", "ext4", "-O", "inline_data", "-I", "256"});
  require_one_line(sample.cat("/a/one-byte"), 1, {"/a/one-byte", "inode"});
  CHECK(sample.cat("/a/block").exit_code == 0);
}

TEST_CASE("of several volumes one is chosen where it matters") {
  const SampleRepository repository;
  make_disk_with_two_volumes(repository / "disk", 1);
  repository.ingest(repository / "disk", "disk:1");
  const std::string path = repository.path();
  const std::string both = vmpack_done({"files", "disk:1", "/a", "--repo", path});
  CHECK(both.starts_with("volume 1 (ext4, label sample):\n"));
  CHECK(both.find("\nvolume 2 (ext2, label sample):\n") != std::string::npos);
  require_one_line(vmpack({"cat", "disk:1:/a/block", "--repo", path}), 2,
                   {"several volumes", "1, 2", "--volume"});
  const std::string first = vmpack_done({"cat", "disk:1:/a/block", "--volume", "1", "--repo", path});
  const std::string second = vmpack_done({"cat", "disk:1:/a/block", "--volume", "2", "--repo", path});
  CHECK(first.size() == 4096);
  CHECK((first != second));
  require_one_line(vmpack({"files", "disk:1", "--volume", "7", "--repo", path}), 2, {"volume 7"});
}

TEST_CASE("of an image without file systems nothing is listed") {
  const SampleRepository repository;
  make_mixed_disk(repository / "noise", 4 * kMiB, 1);
  repository.ingest(repository / "noise", "noise:1");
  require_one_line(vmpack({"files", "noise:1", "--repo", repository.path()}), 1, {"noise:1", "files"});
}

}  // namespace vmpack::test
