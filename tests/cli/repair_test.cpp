// SPDX-License-Identifier: Apache-2.0
// Damage is told by what it affects, and mended from the rest of the repository, another one, or a second
// ingest.
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/pack.hpp"
#include "tests/cli/kills.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

/// A repository with two builds, and a copy of it beside.
class Damageable {
 public:
  Damageable() {
    use_small_packs(repository_, 16 * 1024);
    make_sample_image(image(1), 12 * kMiB, 1);
    fs::copy_file(image(1), image(2));
    overwrite(image(2), 8 * kMiB, text_bytes(5, kMiB));
    repository_.ingest(image(1), "web:1");
    repository_.ingest(image(2), "web:2", {"--parent", "web:1"});
    vmpack_done({"init", backup()});
    vmpack_done({"copy", "--all", "--repo", path(), "--to", backup()});
  }

  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] std::string path() const { return repository_.path(); }
  [[nodiscard]] std::string backup() const { return repository_ / "backup"; }
  [[nodiscard]] std::string image(int number) const { return repository_ / fmt::format("image-{}", number); }

  [[nodiscard]] std::vector<std::string> keys(std::string_view folder) const {
    std::vector<std::string> keys;
    for (const auto& [key, content] : repository_.contents()) {
      if (key.starts_with(folder)) keys.push_back(key);
    }
    return keys;
  }
  void flip(const std::string& key, std::uint64_t at) const {
    Bytes bytes = read_file(path() + "/" + key);
    bytes.at(at) ^= std::byte{0x40};
    write_file(path() + "/" + key, bytes);
  }
  /// One byte in the middle of every `each`th frame of all packs, or of those that hold files and free space
  /// alone. Returns how many.
  std::uint64_t damage_frames(std::size_t each, bool data_alone = false) const {
    const auto store = open_directory_store(path());
    std::uint64_t count = 0;
    std::size_t number = 0;
    for (const std::string& key : keys("packs/")) {
      for (const PackFrame& frame : read_pack_tables(*store, *pack_of_key(key)).frames) {
        const bool is_data =
            frame.object_class != ObjectClass::kMapNode && frame.object_class != ObjectClass::kFileTable;
        if ((data_alone && !is_data) || ++number % each != 0) continue;
        flip(key, frame.offset + frame.stored_bytes / 2);
        ++count;
      }
    }
    return count;
  }
  [[nodiscard]] CommandResult repair(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"repair", "--repo", path(), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack(arguments);
  }
  void require_whole() const {
    repository_.require_intact();
    for (int i = 1; i <= 2; ++i) {
      repository_.restore(fmt::format("web:{}", i), repository_ / "out");
      REQUIRE(same_bytes(repository_ / "out", image(i)));
    }
  }

 private:
  SampleRepository repository_{memory_folder()};
};

}  // namespace

TEST_CASE("a damaged frame is told by the snapshots, references and files that need it") {
  const Damageable sample;
  const OrderedJson intact = vmpack_json({"verify", "--impact", "--repo", sample.path()});
  CHECK(intact.at("impact").at("frames").empty());
  CHECK(intact.at("impact").at("snapshots").empty());
  REQUIRE(sample.damage_frames(9) > 3);
  const CommandResult result = vmpack({"verify", "--impact", "--json", "--repo", sample.path()});
  REQUIRE(result.exit_code == 3);
  const OrderedJson impact = OrderedJson::parse(result.out).at("impact");
  REQUIRE(impact.at("frames").size() > 3);
  REQUIRE(impact.at("snapshots").size() == 2);
  std::uint64_t files = 0;
  for (const OrderedJson& snapshot : impact.at("snapshots")) {
    REQUIRE(snapshot.at("references").size() == 1);
    const std::string reference = snapshot.at("references")[0];
    CHECK(snapshot.at("bytes") > 0);
    std::uint64_t bytes = snapshot.at("outside_files");
    for (const OrderedJson& file : snapshot.at("files")) {
      bytes += file.at("bytes").get<std::uint64_t>();
      const std::string name = reference + ":" + file.at("path").get<std::string>();
      if (++files % 8 == 0) CHECK(vmpack({"cat", name, "--repo", sample.path()}).exit_code == 1);
    }
    CHECK(bytes == snapshot.at("bytes"));
  }
  CHECK(files > 3);
  const CommandResult text = vmpack({"verify", "--impact", "--repo", sample.path()});
  CHECK(text.out.find("web:1, snapshot ") != std::string::npos);
}

TEST_CASE("a missing pack is told by what it affects without reading a frame") {
  const Damageable sample;
  fs::remove(sample.path() + "/" + sample.keys("packs/").front());
  const CommandResult result = vmpack({"verify", "--impact", "--quick", "--json", "--repo", sample.path()});
  REQUIRE(result.exit_code == 3);
  CHECK_FALSE(OrderedJson::parse(result.out).at("impact").at("snapshots").empty());
}

TEST_CASE("damage of every kind is mended from another repository") {
  const Damageable sample;
  const auto before = sample.repository().contents();
  for (const std::string kind : {"packs/", "index/", "places/", "maps/", "files/", "snapshots/", "notes/"}) {
    for (const bool gone : {false, true}) {
      if (gone && (kind == "notes/" || kind == "index/")) continue;  // nothing names them
      INFO(kind << (gone ? " is gone" : " is damaged"));
      const std::vector<std::string> keys = sample.keys(kind);
      REQUIRE_FALSE(keys.empty());
      const std::string path = sample.path() + "/" + keys.back();
      if (gone) {
        fs::remove(path);
      } else {
        sample.flip(keys.back(), fs::file_size(path) / 2);
      }
      const CommandResult repaired = sample.repair({"--from", sample.backup()});
      INFO(repaired.out << repaired.err);
      REQUIRE(repaired.exit_code == 0);
      sample.require_whole();
    }
  }
  REQUIRE(sample.damage_frames(3) > 10);
  const CommandResult repaired = sample.repair({"--from", sample.backup()});
  INFO(repaired.out << repaired.err);
  REQUIRE(repaired.exit_code == 0);
  sample.require_whole();
  // It finds what it holds.
  CHECK(sample.repository().ingest(sample.image(1), "again:1").at("stored_bytes") == 0);
}

TEST_CASE("index and places are made anew without any other repository") {
  const Damageable sample;
  for (const std::string& key : sample.keys("index/")) sample.flip(key, 1000);
  for (const std::string& key : sample.keys("places/")) fs::remove(sample.path() + "/" + key);
  const CommandResult repaired = sample.repair();
  INFO(repaired.out << repaired.err);
  REQUIRE(repaired.exit_code == 0);
  sample.require_whole();
}

TEST_CASE("what is lost is stored anew by the next ingest of the same image, and older snapshots heal") {
  const Damageable sample;
  const std::uint64_t damaged = sample.damage_frames(4, /*data_alone=*/true);
  REQUIRE(damaged > 5);
  const CommandResult first = sample.repair();
  INFO(first.out << first.err);
  REQUIRE(first.exit_code == 3);
  const OrderedJson report = OrderedJson::parse(first.out);
  CHECK(report.at("damaged_frames") == damaged);
  CHECK(report.at("lost_frames").size() == damaged);
  CHECK(sample.repository().ingest(sample.image(1), "other:1").at("stored_bytes") > 0);
  sample.repository().ingest(sample.image(2), "other:2", {"--parent", "other:1"});
  for (int i = 1; i <= 2; ++i) {
    sample.repository().restore(fmt::format("other:{}", i), sample.repository() / "out");
    CHECK(same_bytes(sample.repository() / "out", sample.image(i)));
  }
  const CommandResult second = sample.repair();
  INFO(second.out << second.err);
  CHECK(second.exit_code == 0);
  sample.require_whole();
}

TEST_CASE("a repair that is only tried out writes nothing, and says what it would do") {
  const Damageable sample;
  const std::uint64_t damaged = sample.damage_frames(11);
  const auto before = sample.repository().contents();
  const CommandResult tried = sample.repair({"--from", sample.backup(), "--dry-run"});
  REQUIRE(tried.exit_code == 0);
  CHECK(OrderedJson::parse(tried.out).at("fetched_frames") == damaged);
  CHECK((sample.repository().contents() == before));
}

TEST_CASE("a repository without damage is left as it is") {
  const Damageable sample;
  const auto before = sample.repository().contents();
  CHECK(vmpack_done({"repair", "--repo", sample.path()}) == "nothing is damaged\n");
  CHECK((sample.repository().contents() == before));
}

TEST_CASE("a repair killed at any moment leaves what was there, and the next one ends it") {
  const Damageable sample;
  sample.damage_frames(5);
  fs::remove(sample.path() + "/" + sample.keys("packs/").back());
  sample.flip(sample.keys("index/").front(), 700);
  const std::string kept = sample.repository() / "kept";
  fs::copy(sample.path(), kept, fs::copy_options::recursive);
  const std::vector<std::string> repair{"repair",      "--quiet", "--repo",
                                        sample.path(), "--from",  sample.backup()};
  std::vector<std::string> command{program("VMPACK")};
  command.insert(command.end(), repair.begin(), repair.end());
  const std::uint64_t kills = kills_wanted() / 2;
  const std::uint64_t killed = kill_at_random_moments(
      command, kills, 20'30,
      [&] {
        fs::remove_all(sample.path());
        fs::copy(kept, sample.path(), fs::copy_options::recursive);
      },
      [&] {
        vmpack_done(repair);
        sample.require_whole();
      });
  CHECK(killed * 2 >= kills);
}

}  // namespace vmpack::test
