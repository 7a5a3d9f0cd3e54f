// SPDX-License-Identifier: Apache-2.0
// Snapshots go through a file, and what arrives is whole, or nothing is.
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

/// A repository with two builds, and an empty one that nothing but files reach.
class AirGap {
 public:
  AirGap() {
    use_small_packs(here_);
    make_sample_image(image(1), 12 * kMiB, 1);
    fs::copy_file(image(1), image(2));
    overwrite(image(2), 8 * kMiB, text_bytes(5, kMiB));
    overwrite(image(2), 2 * kMiB, random_bytes(6, 64 * kKiB));
    here_.ingest(image(1), "web:1");
    here_.ingest(image(2), "web:2", {"--parent", "web:1"});
  }

  [[nodiscard]] const SampleRepository& there() const { return there_; }
  [[nodiscard]] std::string image(int number) const { return here_ / fmt::format("image-{}", number); }
  [[nodiscard]] std::string file() const { return here_ / "file.vmpack"; }

  [[nodiscard]] OrderedJson export_to_file(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "export");
    arguments.insert(arguments.end(), {file(), "--force", "--repo", here_.path()});
    return vmpack_json(arguments);
  }
  [[nodiscard]] CommandResult import(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"import", file(), "--repo", there_.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack(arguments);
  }
  void require_imported() const {
    const CommandResult result = import();
    INFO(result.out << result.err);
    REQUIRE(result.exit_code == 0);
    there_.require_intact();
  }
  void require_image(int number) const {
    there_.restore(fmt::format("web:{}", number), there_ / "out");
    REQUIRE(same_bytes(there_ / "out", image(number)));
  }

 private:
  SampleRepository here_{memory_folder()};
  SampleRepository there_{memory_folder()};
};

}  // namespace

TEST_CASE("an exported snapshot is the same one where it is imported") {
  const AirGap gap;
  const OrderedJson report = gap.export_to_file({"web:*"});
  CHECK(report.at("file_bytes") == fs::file_size(gap.file()));
  gap.require_imported();
  for (int i = 1; i <= 2; ++i) gap.require_image(i);
  const OrderedJson list = vmpack_json({"list", "--repo", gap.there().path()}).at("references");
  REQUIRE(list.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(list[i].at("snapshot") == report.at("references")[i].at("snapshot"));
  }
  const auto before = gap.there().contents();
  gap.require_imported();
  CHECK((gap.there().contents() == before));
}

TEST_CASE("an export leaves out what the other side has, whichever way that is told") {
  const AirGap gap;
  const std::uint64_t whole = gap.export_to_file({"web:1"}).at("file_bytes");
  gap.require_imported();
  const std::uint64_t since = gap.export_to_file({"web:2", "--since", "web:1"}).at("file_bytes");
  CHECK(since < whole / 2);
  const std::string list = gap.there() / "list.json";
  write_file(list, vmpack_done({"list", "--json", "--repo", gap.there().path()}));
  const std::uint64_t known = gap.export_to_file({"web:2", "--known-to", list}).at("file_bytes");
  CHECK(known == since);
  gap.require_imported();
  gap.require_image(1);
  gap.require_image(2);
}

TEST_CASE("an export that follows what is not there says so, and changes nothing") {
  const AirGap gap;
  static_cast<void>(gap.export_to_file({"web:2", "--since", "web:1"}));
  const auto before = gap.there().contents();
  require_one_line(gap.import(), 1, {"follows the snapshot", "import that first"});
  CHECK((gap.there().contents() == before));
}

TEST_CASE("an export that goes through a pipe is the one that goes into a file") {
  const AirGap gap;
  static_cast<void>(gap.export_to_file({"web:1"}));
  const Bytes file = read_file(gap.file());
  const SampleRepository& there = gap.there();
  const std::string repository = fs::path(gap.file()).parent_path() / "repository";
  run_tool({"sh", "-c",
            program("VMPACK") + " export web:1 - --repo " + repository + " | cat >" + (there / "piped")});
  CHECK((read_file(there / "piped") == file));
}

TEST_CASE("an export needs no file on either side, and counts only when all of it came through") {
  const AirGap gap;
  const std::string repository = fs::path(gap.file()).parent_path() / "repository";
  const std::string from = program("VMPACK") + " export --all - --repo " + repository + " | ";
  const std::string to = program("VMPACK") + " import - -q --repo " + gap.there().path();
  const auto before = gap.there().contents();
  static_cast<void>(gap.export_to_file({"--all"}));
  const CommandResult cut = run_command({"sh", "-c", "head -c 100000 " + gap.file() + " | " + to});
  require_one_line(cut, 1, {"the standard input"});
  CHECK((gap.there().contents() == before));
  run_tool({"sh", "-c", from + to});
  gap.there().require_intact();
  gap.require_image(1);
  gap.require_image(2);
}

TEST_CASE("a file that was cut off or changed on the way is refused, or brings exactly what it should") {
  const AirGap gap;
  static_cast<void>(gap.export_to_file({"web:1"}));
  const Bytes file = read_file(gap.file());
  const auto before = gap.there().contents();
  for (const std::size_t size : {std::size_t{0}, std::size_t{31}, std::size_t{100}, file.size() / 2,
                                 file.size() - 33, file.size() - 1, file.size() + 1}) {
    INFO("cut to " << size << " of " << file.size());
    Bytes changed = file;
    changed.resize(size);
    write_file(gap.file(), changed);
    require_one_line(gap.import(), 1, {gap.file()});
    CHECK((gap.there().contents() == before));
  }
  Random random(20'31);
  for (int i = 0; i < 60; ++i) {
    const std::size_t at = i < 20 ? random.below(4000) : random.below(file.size());
    INFO("byte " << at);
    Bytes changed = file;
    changed[at] ^= static_cast<std::byte>(1 + random.below(255));
    write_file(gap.file(), changed);
    fs::remove_all(gap.there().path());
    vmpack_done({"init", gap.there().path()});
    const CommandResult result = gap.import();
    INFO(result.out << result.err);
    CHECK(result.exit_code == 1);
    CHECK(vmpack_json({"list", "--repo", gap.there().path()}).at("references").empty());
    gap.there().require_intact();
  }
  write_file(gap.file(), file);
  gap.require_imported();
  gap.require_image(1);
}

TEST_CASE("exports and imports that make no sense are refused in one line") {
  const AirGap gap;
  static_cast<void>(gap.export_to_file({"web:1"}));
  const std::string repository = fs::path(gap.file()).parent_path() / "repository";
  const auto refuse = [&](std::vector<std::string> arguments, int code,
                          const std::vector<std::string>& words) {
    arguments.insert(arguments.end(), {"--repo", repository});
    require_one_line(vmpack(arguments), code, words);
  };
  refuse({"export", gap.file()}, 2, {"--all"});
  refuse({"export", "web:1", gap.file()}, 1, {"exists already", "--force"});
  refuse({"export", "web:9", gap.file(), "--force"}, 1, {"web:9"});
  refuse({"export", "web:1", gap.file() + ".x", "--since", "web:9"}, 1, {"web:9"});
  refuse({"export", "web:1", gap.file() + ".x", "--known-to", gap.image(1)}, 2, {"list --json"});
  refuse({"export", "web:1", "/nowhere/x"}, 1, {"/nowhere/x"});
  refuse({"import", gap.image(1)}, 1, {"no export"});
  refuse({"import", "/nowhere/x"}, 1, {"/nowhere/x"});
  CHECK_FALSE(fs::exists(gap.file() + ".x"));
  CHECK_FALSE(fs::exists(gap.file() + ".x.part"));
}

}  // namespace vmpack::test
