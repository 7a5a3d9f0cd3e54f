// SPDX-License-Identifier: Apache-2.0
// Bad use ends in one clear line, the right exit code, and nothing written.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/small_file_system.hpp"

namespace vmpack::test {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

/// A repository with one snapshot a:1 of a small image, and the promise that nothing changes in it.
class Guarded {
 public:
  Guarded() {
    make_mixed_disk(image(), kMiB, 1);
    repository_.ingest(image(), "a:1");
    before_ = repository_.contents();
  }

  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] std::string image() const { return repository_ / "image"; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return repository_ / name; }

  /// The command (with --repo added) fails with one line, and the repository stays as it was.
  void require_refused(std::vector<std::string> arguments, int exit_code,
                       const std::vector<std::string>& words) const {
    INFO(fmt::format("vmpack {}", fmt::join(arguments, " ")));
    arguments.insert(arguments.begin() + 1, {"--repo", repository_.path()});  // before any "--"
    require_one_line(vmpack(arguments), exit_code, words);
    REQUIRE((repository_.contents() == before_));
  }
  void require_ingest_refused(const std::string& image, int exit_code, const std::vector<std::string>& words,
                              const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"ingest", image, "b:1", "--no-os"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    require_refused(arguments, exit_code, words);
  }

 private:
  SampleRepository repository_;
  std::vector<std::pair<std::string, Bytes>> before_;
};

/// Changes the members of a sealed JSON file, and seals it again.
void edit_sealed(const std::string& path, const std::function<void(OrderedJson&)>& edit) {
  OrderedJson json = OrderedJson::parse(as_text(read_file(path)));
  json.erase("xxh3");
  edit(json);
  write_file(path, seal_json(dump_json(json)));
}

/// Replaces the manifest of a:1 by a changed one, under its right name, and points everything at it.
void edit_manifest(const SampleRepository& repository, const std::function<void(OrderedJson&)>& edit) {
  const std::string folder = repository.path();
  const auto old = vmpack_json({"show", "a:1", "--repo", folder}).at("snapshot").get<std::string>();
  OrderedJson json = OrderedJson::parse(as_text(read_file(folder + "/snapshots/" + old + ".json")));
  edit(json);
  const std::string text = dump_json(json) + "\n";
  const std::string digest = sha256(as_byte_view(text)).hex();
  write_file(folder + "/snapshots/" + digest + ".json", text);
  edit_sealed(folder + "/refs/a/1", [&](OrderedJson& reference) { reference["snapshot"] = digest; });
}

std::string overlay(const Guarded& guarded, const std::string& name, const std::string& backing) {
  const std::string path = guarded / name;
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", "raw", path, "1M"});
  return path;
}

}  // namespace

TEST_CASE("an image that is not there, a folder or unreadable is refused") {
  const Guarded guarded;
  guarded.require_ingest_refused(guarded / "nothing", kFailed, {"nothing", "No such file"});
  guarded.require_ingest_refused("/dev/null/image", kFailed, {"/dev/null/image"});
  guarded.require_ingest_refused(guarded.repository().folder(), kWrongUsage, {"is a folder"});
  guarded.require_ingest_refused("/dev/null", kWrongUsage, {"/dev/null"});
  const std::string pipe = guarded / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0666) == 0);
  guarded.require_ingest_refused(pipe, kWrongUsage, {"pipe"});
  guarded.require_ingest_refused("nbd+unix:///?socket=/nowhere/socket", kFailed, {"/nowhere/socket"});
}

TEST_CASE("an image that the user may not read is refused") {
  if (::geteuid() != 0) {
    WARN("takes root, to become somebody else");
    return;
  }
  const std::vector<std::string> nobody{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  const TempDir folder;
  // Where nobody can reach it, wherever the build lies.
  const std::string reachable = folder / "vmpack";
  std::filesystem::copy_file(program("VMPACK"), reachable);
  REQUIRE(::chmod(folder.path().c_str(), 0777) == 0);
  const auto as_nobody = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> all = nobody;
    all.push_back(reachable);
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run_command(all);
  };
  const std::string repository = folder / "repository";
  REQUIRE(as_nobody({"init", repository}).exit_code == 0);
  const std::string image = folder / "image";
  make_mixed_disk(image, kMiB, 1);
  REQUIRE(::chmod(image.c_str(), 0600) == 0);
  require_one_line(as_nobody({"ingest", image, "a:1", "--no-os", "--repo", repository}), kFailed,
                   {image, "Permission denied"});
  CHECK_FALSE(std::filesystem::exists(repository + "/refs"));

  REQUIRE(::chmod(image.c_str(), 0644) == 0);
  CHECK(as_nobody({"ingest", image, "a:1", "--no-os", "--repo", repository}).exit_code == 0);
  REQUIRE(::chmod((repository + "/refs").c_str(), 0000) == 0);
  require_one_line(as_nobody({"list", "--repo", repository}), kFailed, {"refs", "Permission denied"});
  REQUIRE(::chmod((repository + "/refs").c_str(), 0755) == 0);
  const std::string others = folder / "others";
  vmpack_done({"init", others});
  require_one_line(as_nobody({"ingest", image, "a:1", "--no-os", "--quiet", "--repo", others}), kFailed,
                   {"Permission denied"});
}

TEST_CASE("what is no repository is refused") {
  const TempDir folder;
  const std::string image = folder / "image";
  make_mixed_disk(image, kMiB, 1);
  const std::vector<std::vector<std::string>> commands = {
      {"ingest", image, "a:1", "--no-os"}, {"list"},   {"show", "a:1"},
      {"restore", "a:1", folder / "out"},  {"verify"}, {"stats"}};
  for (auto command : commands) {
    INFO(command.front());
    const auto with_repository = [&](const std::string& path) {
      auto arguments = command;
      arguments.insert(arguments.end(), {"--repo", path});
      return vmpack(arguments);
    };
    require_one_line(with_repository(folder.path()), kFailed,
                     {folder.path(), "is not a vmpack repository", "vmpack init"});
    require_one_line(with_repository(folder / "nothing"), kFailed, {folder / "nothing"});
    require_one_line(with_repository(image), kWrongUsage, {image, "not a folder"});
    require_one_line(with_repository("ftp://host/folder"), kWrongUsage, {"ftp://"});
    CommandOptions without;
    without.environment = {{"VMPACK_REPO", ""}};
    require_one_line(vmpack(command, without), kWrongUsage, {"--repo"});
  }
  require_one_line(vmpack({"init", folder.path()}), kFailed, {"is not empty"});
  require_one_line(vmpack({"init", image}), kWrongUsage, {"not a folder"});
  CHECK(files_below(folder.path()) == std::vector<std::string>{"image"});
}

TEST_CASE("init does not touch a repository that is there") {
  const Guarded guarded;
  require_one_line(vmpack({"init", guarded.repository().path()}), kFailed,
                   {"is a vmpack repository already"});
  guarded.require_refused({"show", "b:1"}, kFailed, {"there is no b:1"});
}

TEST_CASE("a repository of a later version or with an unknown feature is refused by name") {
  const Guarded guarded;
  const SampleRepository& repository = guarded.repository();
  const auto require_all_refuse = [&](const std::vector<std::string>& words) {
    const auto before = repository.contents();
    for (std::vector<std::string> command :
         {std::vector<std::string>{"ingest", guarded.image(), "b:1", "--no-os"},
          {"list"},
          {"show", "a:1"},
          {"restore", "a:1", guarded / "out"},
          {"verify"},
          {"stats"}}) {
      INFO(command.front());
      command.insert(command.end(), {"--repo", repository.path()});
      require_one_line(vmpack(command), kFailed, words);
    }
    CHECK((repository.contents() == before));
    CHECK_FALSE(std::filesystem::exists(guarded / "out"));
  };
  const std::string json = repository.path() + "/vmpack.json";
  edit_sealed(json, [](OrderedJson& object) { object["version"] = 2; });
  require_all_refuse({"vmpack.json", "version 2", "newer vmpack"});
  edit_sealed(json, [](OrderedJson& object) {
    object["version"] = 1;
    object["required_features"] = {"teleport"};
  });
  require_all_refuse({"vmpack.json", "'teleport'", "newer vmpack"});
}

TEST_CASE("a manifest of a later version or with an unknown feature is refused by name") {
  const Guarded guarded;
  const SampleRepository& repository = guarded.repository();
  const auto require_all_refuse = [&](const std::vector<std::string>& words) {
    require_one_line(vmpack({"show", "a:1", "--repo", repository.path()}), kFailed, words);
    require_one_line(vmpack({"restore", "a:1", guarded / "out", "--repo", repository.path()}), kFailed,
                     words);
    CHECK_FALSE(std::filesystem::exists(guarded / "out"));
  };
  SECTION("version") {
    edit_manifest(repository, [](OrderedJson& json) { json["version"] = 7; });
    require_all_refuse({"snapshots/", "version 7", "newer vmpack"});
  }
  SECTION("feature") {
    edit_manifest(repository, [](OrderedJson& json) { json["required_features"] = {"sparse-dreams"}; });
    require_all_refuse({"snapshots/", "'sparse-dreams'", "newer vmpack"});
  }
}

TEST_CASE("a reference that exists is moved only by force") {
  const Guarded guarded;
  const std::string other = guarded / "other";
  make_mixed_disk(other, kMiB, 2);
  guarded.require_refused({"ingest", other, "a:1", "--no-os"}, kFailed, {"a:1 exists already", "--force"});
  const SampleRepository& repository = guarded.repository();
  const auto old =
      vmpack_json({"show", "a:1", "--repo", repository.path()}).at("snapshot").get<std::string>();
  repository.ingest(other, "a:1", {"--force"});
  const std::string out = guarded / "out";
  repository.restore("a:1", out);
  CHECK(same_bytes(out, other));
  repository.restore("a@" + old.substr(0, 12), out);  // what it was is still there by its digest
  CHECK(same_bytes(out, guarded.image()));
  repository.require_intact();
}

TEST_CASE("restore does not replace a file unless told to") {
  const Guarded guarded;
  const std::string out = guarded / "out";
  write_file(out, "precious");
  for (const std::string format : {"raw", "qcow2"}) {
    guarded.require_refused({"restore", "a:1", out, "--format", format}, kFailed,
                            {out, "exists already", "--force"});
    CHECK(as_text(read_file(out)) == "precious");
    guarded.require_refused({"restore", "a:1", guarded / "nowhere/out", "--format", format}, kFailed,
                            {"nowhere/out"});
    guarded.require_refused({"restore", "a:1", guarded.repository().folder(), "--force", "--format", format},
                            kFailed, {guarded.repository().folder()});
  }
  guarded.repository().restore("a:1", out);
  CHECK(same_bytes(out, guarded.image()));
  CHECK(std::filesystem::is_directory(guarded.repository().folder()));
}

TEST_CASE("damaged and hostile qcow2 files are refused") {
  const Guarded guarded;
  const std::string whole = guarded / "whole.qcow2";
  run_tool({"qemu-img", "convert", "-O", "qcow2", guarded.image(), whole});
  const std::uint64_t size = std::filesystem::file_size(whole);
  for (const std::uint64_t left : {std::uint64_t{100}, size / 2, size - 512}) {
    const std::string cut = guarded / "cut.qcow2";
    std::filesystem::copy_file(whole, cut, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(cut, left);
    guarded.require_ingest_refused(cut, kFailed, {cut, "cut short"});
  }
  guarded.require_ingest_refused(overlay(guarded, "orphan.qcow2", "not-there.raw"), kFailed,
                                 {"not-there.raw", "orphan.qcow2"});
  guarded.require_ingest_refused(overlay(guarded, "absolute.qcow2", "/etc/shadow"), kFailed,
                                 {"/etc/shadow", "outside", "--backing-root"});
  guarded.require_ingest_refused(overlay(guarded, "dots.qcow2", "../../../../../../etc/shadow"), kFailed,
                                 {"/etc/shadow", "outside"});
  std::filesystem::create_symlink("/etc/shadow", guarded / "innocent.raw");
  guarded.require_ingest_refused(overlay(guarded, "link.qcow2", "innocent.raw"), kFailed,
                                 {"/etc/shadow", "outside"});
  guarded.require_ingest_refused(
      overlay(guarded, "json.qcow2", R"(json:{"driver":"file","filename":"/etc/shadow"})"), kFailed,
      {"json.qcow2", "/etc/shadow"});
  guarded.require_ingest_refused(overlay(guarded, "url.qcow2", "nbd://127.0.0.1:1/x"), kFailed,
                                 {"url.qcow2", "nbd://127.0.0.1:1/x"});
  guarded.require_ingest_refused(overlay(guarded, "fine.qcow2", guarded.image()), kFailed, {"outside"},
                                 {"--backing-root", "/usr"});
}

TEST_CASE("what is not a reference is refused") {
  const Guarded guarded;
  for (const std::string bad :
       {"", ":", "a:", ":1", ".a", "-a:1", "a:-1", "a:1:2", "a/b", "a b", "a@1234", "a\nb", "ä"}) {
    guarded.require_refused({"ingest", guarded.image(), "--no-os", "--", bad}, kWrongUsage,
                            {"is not a reference"});
  }
  guarded.require_refused({"ingest", guarded.image(), std::string(129, 'a'), "--no-os"}, kWrongUsage,
                          {"is not a reference"});
  for (const std::string bad : {"", "a:", "a@", "a@123", "a@xyz1", "a@ABCD", "a/b", "../a"}) {
    guarded.require_refused({"show", "--", bad}, kWrongUsage, {"is not a reference"});
    guarded.require_refused({"restore", "--", bad, guarded / "out"}, kWrongUsage, {"is not a reference"});
  }
  guarded.require_refused({"verify", "--", "a:"}, kWrongUsage, {"is not a reference"});
  for (const std::string absent : {"b", "a:2", "a@1234"}) {
    guarded.require_refused({"show", absent}, kFailed, {absent, "vmpack list"});
    guarded.require_refused({"restore", absent, guarded / "out"}, kFailed, {absent, "vmpack list"});
    guarded.require_refused({"verify", absent}, kFailed, {absent, "vmpack list"});
  }
  CHECK_FALSE(std::filesystem::exists(guarded / "out"));
}

TEST_CASE("wrong options and missing arguments are wrong usage") {
  const Guarded guarded;
  for (const std::string command : {"ingest", "list", "show", "restore", "verify", "stats"}) {
    guarded.require_refused({command, "--frobnicate"}, kWrongUsage, {});
  }
  guarded.require_refused({"list", "--frobnicate"}, kWrongUsage, {"--frobnicate"});
  guarded.require_refused({"list", "surplus"}, kWrongUsage, {"surplus"});
  guarded.require_refused({"ingest"}, kWrongUsage, {"IMAGE"});
  guarded.require_refused({"ingest", guarded.image()}, kWrongUsage, {"NAME"});
  guarded.require_refused({"restore", "a:1"}, kWrongUsage, {"OUT"});
  guarded.require_refused({"restore", "a:1", guarded / "out", "--format", "vmdk"}, kWrongUsage, {"vmdk"});
  guarded.require_ingest_refused(guarded.image(), kWrongUsage, {"--level"}, {"--level", "0"});
  guarded.require_ingest_refused(guarded.image(), kWrongUsage, {"--level"}, {"--level", "20"});
  guarded.require_ingest_refused(guarded.image(), kWrongUsage, {"--level"}, {"--level", "fast"});
  guarded.require_ingest_refused(guarded.image(), kWrongUsage, {"label"}, {"--label", "no-value"});
  guarded.require_ingest_refused(guarded.image(), kWrongUsage, {"frob"}, {"--format", "frob"});
  require_one_line(vmpack({}), kWrongUsage, {"--help"});
  require_one_line(vmpack({"frobnicate"}), kWrongUsage, {"--help"});
}

TEST_CASE("a full disk ends an ingest, and leaves a whole repository") {
  if (!SmallFileSystem::possible()) {
    WARN("mounting a file system takes root");
    return;
  }
  const SmallFileSystem disk(SmallFileSystem::Kind::kExt4, 16 * kMiB);
  const SampleRepository repository(disk.path());
  const TempDir folder;
  const std::string small = folder / "small";
  make_mixed_disk(small, kMiB, 1);
  repository.ingest(small, "small:1");
  const std::string large = folder / "large";
  make_sparse_file(large, 32 * kMiB);
  overwrite(large, 0, random_bytes(1, 24 * kMiB));

  require_one_line(repository.try_ingest(large, "large:1", {"--quiet"}), kFailed,
                   {"No space left on device"});
  repository.require_intact();
  CHECK(vmpack_json({"list", "--repo", repository.path()}).at("references").size() == 1);
  const std::string out = folder / "out";
  repository.restore("small:1", out);
  CHECK(same_bytes(out, small));
  // The room that the failed one took is free again.
  const std::string medium = folder / "medium";
  make_sparse_file(medium, 8 * kMiB);
  overwrite(medium, 0, random_bytes(2, 6 * kMiB));
  repository.ingest(medium, "medium:1");
  repository.require_intact();
}

TEST_CASE("a full disk ends a restore, and no file is left") {
  if (!SmallFileSystem::possible()) {
    WARN("mounting a file system takes root");
    return;
  }
  const SampleRepository repository;
  const std::string image = repository / "image";
  make_sparse_file(image, 32 * kMiB);
  overwrite(image, 0, random_bytes(1, 24 * kMiB));
  repository.ingest(image, "a:1");
  const SmallFileSystem disk(SmallFileSystem::Kind::kExt4, 16 * kMiB);
  for (const std::string format : {"raw", "qcow2"}) {
    INFO(format);
    const CommandResult result =
        vmpack({"restore", "a:1", disk.path() + "/out", "--format", format, "--repo", repository.path()});
    require_one_line(result, kFailed, {disk.path() + "/out", "No space left on device"});
    CHECK(files_below(disk.path()).empty());
  }
}

TEST_CASE("a file system that is read-only is refused") {
  if (!SmallFileSystem::possible()) {
    WARN("mounting a file system takes root");
    return;
  }
  SmallFileSystem disk(SmallFileSystem::Kind::kTmpfs, 16 * kMiB);
  const SampleRepository repository(disk.path());
  const TempDir folder;
  const std::string image = folder / "image";
  make_mixed_disk(image, kMiB, 1);
  repository.ingest(image, "a:1");
  disk.make_read_only();
  require_one_line(repository.try_ingest(image, "a:2", {"--quiet"}), kFailed, {"Read-only file system"});
  require_one_line(vmpack({"init", disk.path() + "/other"}), kFailed, {"Read-only file system"});
  require_one_line(vmpack({"restore", "a:1", disk.path() + "/out", "--repo", repository.path()}), kFailed,
                   {"Read-only file system"});
  // Reading needs no writing.
  repository.restore("a:1", folder / "out");
  CHECK(same_bytes(folder / "out", image));
  repository.require_intact();
  CHECK(vmpack({"list", "--repo", repository.path()}).exit_code == 0);
}

TEST_CASE("two ingests at once both succeed") {
  const SampleRepository repository;
  use_small_packs(repository);
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    // Each pair has much in common, so that they get in each other's way.
    std::vector<int> running;
    for (const int number : {1, 2}) {
      const std::string image = repository / fmt::format("image-{}", number);
      make_sample_image(image, 16 * kMiB, 10);
      overwrite(image, 12 * kMiB, random_bytes(static_cast<std::uint64_t>(round), 2 * kMiB));
      overwrite(image, 15 * kMiB,
                random_bytes(static_cast<std::uint64_t>(100 + 10 * round + number), kMiB / 2));
    }
    for (const int number : {1, 2}) {
      running.push_back(start_command(
          {program("VMPACK"), "ingest", repository / fmt::format("image-{}", number),
           fmt::format("image-{}:{}", number, round), "--no-os", "--quiet", "--repo", repository.path()}));
    }
    for (const int process : running) CHECK(wait_for(process) == 0);
    for (const int number : {1, 2}) {
      const std::string out = repository / "out";
      repository.restore(fmt::format("image-{}:{}", number, round), out);
      CHECK(same_bytes(out, repository / fmt::format("image-{}", number)));
    }
  }
  repository.require_intact();
}

TEST_CASE("of two ingests that want the same reference one gets it, and the other says so") {
  const SampleRepository repository;
  std::vector<int> running;
  for (const int number : {1, 2}) {
    const std::string image = repository / fmt::format("image-{}", number);
    make_sample_image(image, 16 * kMiB, static_cast<std::uint64_t>(number));
    running.push_back(start_command(
        {program("VMPACK"), "ingest", image, "a:1", "--no-os", "--quiet", "--repo", repository.path()}));
  }
  std::vector<int> codes;
  for (const int process : running) codes.push_back(wait_for(process));
  CHECK(std::ranges::count(codes, 0) == 1);
  CHECK(std::ranges::count(codes, kFailed) == 1);
  const std::string winner = repository / (codes[0] == 0 ? "image-1" : "image-2");
  repository.restore("a:1", repository / "out");
  CHECK(same_bytes(repository / "out", winner));
  repository.require_intact();
}

}  // namespace vmpack::test
