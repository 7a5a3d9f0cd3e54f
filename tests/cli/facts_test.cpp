// SPDX-License-Identifier: Apache-2.0
// What the commands tell: as JSON for programs, as help for people.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"

namespace vmpack::test {
namespace {

const std::vector<std::string> kCommands = {"init",   "inspect",  "ingest",  "list",  "show", "restore",
                                            "verify", "stats",    "explain", "log",   "tag",  "untag",
                                            "mount",  "snapshot", "diff",    "files", "cat"};

void require_members(const OrderedJson& json, const std::vector<std::string>& members) {
  std::vector<std::string> found;
  for (const auto& [name, value] : json.items()) found.push_back(name);
  CHECK(found == members);
}

bool is_hex(const OrderedJson& json, std::size_t digits) {
  const auto text = json.get<std::string>();
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

TEST_CASE("every command tells its facts as JSON") {
  const TempDir folder;
  const std::string repository = folder / "repository";
  const std::string image = folder / "image.raw";
  make_disk_with_two_volumes(image, 1);

  const OrderedJson made = vmpack_json({"init", repository});
  require_members(made, {"repository", "id"});
  CHECK(made.at("repository") == repository);
  CHECK(is_hex(made.at("id"), 32));

  const OrderedJson empty = vmpack_json({"list", "--repo", repository});
  require_members(empty, {"references"});
  CHECK(empty.at("references") == OrderedJson::array());

  const OrderedJson seen = vmpack_json({"inspect", image, "--no-os"});
  require_members(seen, {"image", "format", "bytes", "table", "volumes", "classes", "repeated", "os"});
  CHECK(seen.at("image") == image);
  CHECK(seen.at("format") == "raw");
  CHECK(seen.at("bytes") == 32 * kMiB);
  CHECK(seen.at("table") == "gpt");
  CHECK(seen.at("os") == OrderedJson::array());
  REQUIRE(seen.at("volumes").size() == 2);
  for (const OrderedJson& volume : seen.at("volumes")) {
    require_members(
        volume, {"number", "name", "offset", "bytes", "type", "partition_type", "label", "uuid", "inspected",
                 "dirty", "file_count", "free_bytes", "warning", "largest_directories", "largest_files"});
    CHECK(volume.at("label") == "sample");
    CHECK(volume.at("inspected") == true);
    CHECK(volume.at("dirty") == false);
    CHECK(volume.at("warning") == "");
  }
  CHECK(seen.at("volumes")[0].at("offset") == kMiB);
  CHECK(seen.at("volumes")[1].at("offset") == 17 * kMiB);
  std::uint64_t class_bytes = 0;
  for (const auto& [name, statistics] : seen.at("classes").items()) {
    require_members(statistics, {"objects", "bytes"});
    class_bytes += statistics.at("bytes").get<std::uint64_t>();
  }

  const OrderedJson packed = vmpack_json({"ingest", image, "web:v1", "--no-os", "--label", "build=17",
                                          "--label", "empty=", "--repo", repository});
  require_members(packed, {"reference", "snapshot", "source", "image_bytes", "data_bytes", "objects",
                           "objects_new", "bytes_new", "stored_bytes", "frames_new", "packs_new", "seconds"});
  CHECK(packed.at("reference") == "web:v1");
  CHECK(is_hex(packed.at("snapshot"), 64));
  CHECK(packed.at("source") == image);
  CHECK(packed.at("image_bytes") == 32 * kMiB);
  CHECK(packed.at("data_bytes") == class_bytes);
  CHECK(packed.at("bytes_new") <= packed.at("data_bytes"));
  CHECK(packed.at("seconds").is_number());

  const OrderedJson listed = vmpack_json({"list", "--repo", repository});
  REQUIRE(listed.at("references").size() == 1);
  const OrderedJson& entry = listed.at("references")[0];
  require_members(entry,
                  {"reference", "snapshot", "image_bytes", "data_bytes", "stored_bytes", "sequence", "time"});
  CHECK(entry.at("reference") == "web:v1");
  for (const std::string member : {"snapshot", "image_bytes", "data_bytes", "stored_bytes"}) {
    INFO(member);
    CHECK(entry.at(member) == packed.at(member));
  }
  CHECK(entry.at("sequence") == 1);

  for (const std::string& name :
       {std::string("web:v1"), "web@" + packed.at("snapshot").get<std::string>().substr(0, 12)}) {
    const OrderedJson shown = vmpack_json({"show", name, "--repo", repository});
    require_members(shown, {"snapshot", "references", "manifest"});
    CHECK(shown.at("snapshot") == packed.at("snapshot"));
    CHECK(shown.at("references") == OrderedJson{"web:v1"});
    const OrderedJson& manifest = shown.at("manifest");
    CHECK(manifest.at("version") == 1);
    CHECK(manifest.at("image").at("bytes") == 32 * kMiB);
    CHECK(manifest.at("image").at("source_format") == "raw");
    CHECK(manifest.at("labels") == OrderedJson{{"build", "17"}, {"empty", ""}});
    CHECK(is_hex(manifest.at("map"), 64));
    CHECK(is_hex(manifest.at("files"), 64));
  }

  for (const std::string format : {"raw", "qcow2"}) {
    const std::string out = folder / ("out." + format);
    const OrderedJson restored =
        vmpack_json({"restore", "web:v1", out, "--format", format, "--repo", repository});
    require_members(restored,
                    {"snapshot", "file", "format", "image_bytes", "data_bytes", "stored_bytes", "seconds"});
    CHECK(restored.at("file") == out);
    CHECK(restored.at("format") == format);
    CHECK(restored.at("image_bytes") == 32 * kMiB);
    CHECK(restored.at("snapshot") == packed.at("snapshot"));
  }

  const OrderedJson statistics = vmpack_json({"stats", "--repo", repository});
  require_members(statistics,
                  {"references", "snapshots", "image_bytes", "data_bytes", "packs", "frames",
                   "repository_bytes", "index_files", "index_bytes", "index_cache_bytes", "classes"});
  CHECK(statistics.at("references") == 1);
  CHECK(statistics.at("snapshots") == 1);
  CHECK(statistics.at("data_bytes") == packed.at("data_bytes"));
  std::uint64_t on_disk = 0;
  for (const std::string& key : files_below(repository)) {
    if (!key.starts_with("tmp/")) on_disk += std::filesystem::file_size(repository + "/" + key);
  }
  CHECK(statistics.at("repository_bytes") == on_disk);
  for (const auto& [name, stored] : statistics.at("classes").items()) {
    require_members(stored, {"objects", "raw_bytes", "stored_bytes"});
  }

  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{}, {"--quick"}, {"web:v1"}, {"web:v1", "--quick"}}) {
    INFO(fmt::format("verify {}", fmt::join(more, " ")));
    std::vector<std::string> arguments{"verify", "--repo", repository};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const OrderedJson verified = vmpack_json(arguments);
    require_members(verified, {"references", "snapshots", "packs", "frames", "objects", "bytes_read", "quick",
                               "unreferenced_packs", "damage"});
    const bool quick = !more.empty() && more.back() == "--quick";
    CHECK(verified.at("quick") == quick);
    CHECK(verified.at("snapshots") == 1);
    CHECK(verified.at("damage") == OrderedJson::array());
    CHECK(verified.at("unreferenced_packs") == 0);
    CHECK((verified.at("bytes_read") > 0) == !quick);
  }
}

TEST_CASE("verify tells damage as JSON, and of one snapshot only what that needs") {
  const SampleRepository repository;
  make_mixed_disk(repository / "a", kMiB, 1);
  make_mixed_disk(repository / "b", kMiB, 2);
  repository.ingest(repository / "a", "a:1");
  const auto packs = files_below(repository.path() + "/packs");
  REQUIRE(packs.size() == 1);
  const std::string pack = "packs/" + packs.front();
  repository.ingest(repository / "b", "b:1");
  // Within the first frame's payload: only reading it tells.
  Bytes content = read_file(repository.path() + "/" + pack);
  content[100] ^= std::byte{1};
  write_file(repository.path() + "/" + pack, content);

  const auto findings = [&](const std::vector<std::string>& more, int exit_code) {
    std::vector<std::string> arguments{"--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = repository.verify(arguments);
    INFO(result.out << result.err);
    CHECK(result.exit_code == exit_code);
    return OrderedJson::parse(result.out).at("damage");
  };
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"a:1"}}) {
    const OrderedJson damage = findings(more, 3);
    REQUIRE(damage.size() == 1);
    require_members(damage[0], {"file", "what"});
    CHECK(damage[0].at("file") == pack);
  }
  CHECK(findings({"b:1"}, 0).empty());
  CHECK(findings({"--quick"}, 0).empty());
  CHECK(findings({"a:1", "--quick"}, 0).empty());
  std::filesystem::remove(repository.path() + "/" + pack);
  CHECK_FALSE(findings({"--quick"}, 3).empty());
  CHECK_FALSE(findings({"a:1", "--quick"}, 3).empty());
  CHECK(findings({"b:1", "--quick"}, 0).empty());
}

TEST_CASE("list and stats of an empty repository say so") {
  const SampleRepository repository;
  CHECK(vmpack_done({"list", "--repo", repository.path()}).find("no references yet") != std::string::npos);
  CHECK(vmpack_done({"list", "--quiet", "--repo", repository.path()}).empty());
  CHECK(vmpack_json({"stats", "--repo", repository.path()}).at("snapshots") == 0);
  CHECK_FALSE(vmpack_done({"stats", "--repo", repository.path()}).empty());
  repository.require_intact();
}

TEST_CASE("list shows references sorted, with what each added") {
  const SampleRepository repository;
  make_mixed_disk(repository / "image", kMiB, 1);
  for (const std::string reference : {"web:2", "web:10", "db", "a-b:1"})
    repository.ingest(repository / "image", reference);
  const std::string text = vmpack_done({"list", "--repo", repository.path()});
  std::size_t before = 0;
  for (const std::string shown : {"REFERENCE", "a-b:1 ", "db:latest ", "web:10 ", "web:2 "}) {
    INFO(shown << " in\n" << text);
    const std::size_t at = text.find(shown);
    REQUIRE(at != std::string::npos);
    CHECK(at >= before);
    before = at;
  }
}

TEST_CASE("quiet commands print nothing") {
  const TempDir folder;
  const std::string repository = folder / "repository";
  make_mixed_disk(folder / "image", kMiB, 1);
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"init", repository, "--quiet"},
           {"ingest", folder / "image", "a:1", "--no-os", "--quiet", "--repo", repository},
           {"restore", "a:1", folder / "out", "-q", "--repo", repository},
           {"verify", "-q", "--repo", repository}}) {
    const CommandResult result = vmpack(command);
    INFO(command.front());
    CHECK(result.exit_code == 0);
    CHECK(result.out + result.err == "");
  }
}

TEST_CASE("the help of every command mentions every option") {
  const std::vector<std::string> common{"--help", "--json", "--quiet", "--verbose"};
  const std::map<std::string, std::vector<std::string>> options = {
      {"init", {"REPO"}},
      {"inspect", {"IMAGE", "--format", "--backing-root", "--no-os", "--report", "--repo"}},
      {"ingest",
       {"NAME", "--level", "--label", "--force", "--repo", "VMPACK_REPO", "IMAGE", "--format",
        "--backing-root", "--no-os"}},
      {"list", {"--repo", "VMPACK_REPO"}},
      {"show", {"REF", "--repo", "VMPACK_REPO"}},
      {"restore",
       {"REF", "OUT", "--format", "raw", "qcow2", "--compress", "--range", "--update", "--force", "--repo",
        "VMPACK_REPO"}},
      {"verify", {"REF", "--quick", "--repo", "VMPACK_REPO"}},
      {"stats", {"--repo", "VMPACK_REPO"}},
      {"explain", {"A", "B", "--top", "--repo", "VMPACK_REPO"}},
      {"log", {"NAME", "--repo", "VMPACK_REPO"}},
      {"tag", {"REF", "NEW-REF", "--force", "--repo", "VMPACK_REPO"}},
      {"untag", {"REF", "--repo", "VMPACK_REPO"}},
      {"snapshot",
       {"REF", "NEW-REF", "--overlay", "--nbd", "--bitmap", "--base-moved", "--no-facts", "--no-os",
        "--level", "--label", "--force", "--repo", "VMPACK_REPO"}},
      {"diff", {"A", "B", "--blocks", "--files", "--packages", "--text", "--repo", "VMPACK_REPO"}},
      {"files", {"REF", "PATH", "--volume", "--repo", "VMPACK_REPO"}},
      {"cat", {"REF:/PATH", "--volume", "--repo", "VMPACK_REPO"}},
      {"mount", {"REF", "DIR", "--cache", "--foreground", "--allow-other", "--repo", "VMPACK_REPO"}},
  };
  const std::string overview = vmpack_done({"--help"});
  for (const std::string& command : kCommands) {
    const std::string help = vmpack_done({command, "--help"});
    CHECK(overview.find("\n  " + command + " ") != std::string::npos);
    // What it writes is a file's bytes and nothing else.
    const auto& shared = command == "cat" ? std::vector<std::string>{"--help"} : common;
    for (const auto& names : {shared, options.at(command)}) {
      for (const std::string& name : names) {
        INFO(command << ": " << name << " in\n" << help);
        CHECK(help.find(name) != std::string::npos);
      }
    }
    CHECK(help.find("Exit codes") != std::string::npos);
  }
  CHECK(vmpack_done({"--version"}).starts_with("vmpack "));
}

TEST_CASE("the repository comes from the environment, and an option overrides it") {
  const SampleRepository repository;
  const SampleRepository other;
  make_mixed_disk(repository / "image", kMiB, 1);
  CommandOptions options;
  options.environment = {{"VMPACK_REPO", repository.path()}};
  vmpack_done({"ingest", repository / "image", "a:1", "--no-os"}, options);
  CHECK(vmpack_json({"list"}, options).at("references").size() == 1);
  CHECK(vmpack_json({"list", "--repo", other.path()}, options).at("references").empty());
  CHECK(vmpack_json({"list", "--repo", "file://" + repository.path()}, options).at("references").size() == 1);
}

}  // namespace vmpack::test
