// SPDX-License-Identifier: Apache-2.0
// Content that is purged is gone: no byte of it in any frame, zeros where it was, and all else as before.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <unordered_map>

#include "libvmpack/base/units.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/verify.hpp"
#include "tests/cli/kills.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kBlock = 4096;

/// Two builds with a secret that lies in each of them twice, and another one without it.
class Leaky {
 public:
  Leaky() {
    use_small_packs(repository_);
    const TempDir folder;
    fs::create_directory(folder / "tree");
    fill_tree(folder / "tree", 1);
    write_file(folder / "tree/secret.key", secret_);
    write_file(folder / "tree/copy.key", secret_);
    make_file_system(image(1), folder / "tree", 16 * kMiB, {"-t", "ext4", "-b", "4096"});
    fs::copy_file(image(1), image(2));
    const std::uint64_t block = places_of(image(1), {"/secret.key"}).front().blocks.at(20);
    overwrite(image(2), block * kBlock, random_bytes(6, kBlock));  // so that delta frames stand on it
    make_mixed_disk(image(3), 4 * kMiB, 7);
    repository_.ingest(image(1), "web:1");
    repository_.ingest(image(2), "web:2", {"--parent", "web:1"});
    repository_.ingest(image(3), "db:1");
  }

  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] std::string path() const { return repository_.path(); }
  [[nodiscard]] std::string image(int number) const { return repository_ / fmt::format("image-{}", number); }
  [[nodiscard]] const Bytes& secret() const { return secret_; }

  /// Whether any frame of any pack holds one of the secret's blocks.
  [[nodiscard]] bool is_stored() const {
    const auto store = open_directory_store(path());
    std::unordered_map<FrameDigest, FrameLocation, DigestHash> places;
    for (const PackDigest& pack : list_packs(*store)) {
      for (const PackFrame& frame : read_pack_tables(*store, pack).frames) {
        places[frame.digest] = {pack, frame.offset, frame.stored_bytes};
      }
    }
    const BaseReader base = [&](const FrameDigest& digest) {
      return read_frame(*store, digest, places.at(digest));
    };
    return std::ranges::any_of(places, [&](const auto& place) {
      return holds_secret(read_frame(*store, place.first, place.second, base)->bytes);
    });
  }
  /// The image with zeros wherever it holds one of the secret's blocks.
  void require_without_secret(const std::string& reference, int number) const {
    Bytes expected = read_file(image(number));
    for (std::size_t at = 0; at + kBlock <= expected.size(); at += kBlock) {
      const ByteView block = ByteView(expected).subspan(at, kBlock);
      if (holds_secret(block))
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at), kBlock, std::byte{0});
    }
    repository_.restore(reference, repository_ / "out");
    REQUIRE((read_file(repository_ / "out") == expected));
  }

 private:
  [[nodiscard]] bool holds_secret(ByteView bytes) const {
    for (std::size_t at = 0; at < secret_.size(); at += kBlock) {
      const ByteView probe = ByteView(secret_).subspan(at, 64);
      if (as_text(bytes).find(as_text(probe)) != std::string_view::npos) return true;
    }
    return false;
  }

  SampleRepository repository_{memory_folder()};
  Bytes secret_ = random_bytes(99, 50 * kBlock);
};

}  // namespace

TEST_CASE("a purged file reads as zeros in every snapshot that held it, and nothing stored holds it") {
  const Leaky leaky;
  REQUIRE(leaky.is_stored());
  const auto before = leaky.repository().contents();
  const std::vector<std::string> purge{"purge", "--repo", leaky.path(), "--file", "web:1:/secret.key"};
  std::vector<std::string> dry_run = purge;
  dry_run.emplace_back("--dry-run");
  const OrderedJson expected = vmpack_json(dry_run);
  CHECK((leaky.repository().contents() == before));
  REQUIRE(expected.at("snapshots").size() == 2);
  const std::string db = vmpack_json({"show", "db:1", "--repo", leaky.path()}).at("snapshot");

  const OrderedJson report = vmpack_json(purge);
  REQUIRE(report.at("snapshots").size() == 2);
  for (const OrderedJson& purged : report.at("snapshots")) {
    CHECK(purged.at("bytes") >= leaky.secret().size());
    CHECK(purged.at("files").size() == 2);
    CHECK_FALSE(fs::exists(leaky.path() + "/snapshots/" + purged.at("before").get<std::string>() + ".json"));
  }
  CHECK(report.at("references").size() == 2);
  leaky.repository().require_intact();
  leaky.require_without_secret("web:1", 1);
  leaky.repository().restore("db:1", leaky.repository() / "out");
  CHECK(same_bytes(leaky.repository() / "out", leaky.image(3)));
  CHECK(vmpack_json({"show", "db:1", "--repo", leaky.path()}).at("snapshot") == db);
  // What the second build had changed of it is its own, and is purged by its own name.
  vmpack_done({"purge", "--repo", leaky.path(), "--file", "web:2:/secret.key"});
  leaky.repository().require_intact();
  CHECK_FALSE(leaky.is_stored());
  const std::string after = vmpack_json({"show", "web:1", "--repo", leaky.path()}).at("snapshot");
  CHECK(vmpack_json({"log", "web", "--repo", leaky.path()}).dump().find(after) != std::string::npos);
  CHECK(vmpack_json(purge).at("snapshots").empty());
  // The index knows the rest.
  CHECK(leaky.repository().ingest(leaky.image(3), "again:1").at("stored_bytes") < kMiB / 4);
}

TEST_CASE("a purge killed at any moment leaves old or new snapshots, and the next one ends it") {
  const Leaky leaky;
  const std::string kept = leaky.repository() / "kept";
  fs::copy(leaky.path(), kept, fs::copy_options::recursive);
  const std::vector<std::string> purge{"purge",  "--quiet",           "--file", "web:1:/secret.key",
                                       "--file", "web:2:/secret.key", "--repo", leaky.path()};
  std::vector<std::string> command{program("VMPACK")};
  command.insert(command.end(), purge.begin(), purge.end());
  const std::uint64_t kills = kills_wanted() / 2;
  const std::uint64_t killed = kill_at_random_moments(
      command, kills, 20'32,
      [&] {
        fs::remove_all(leaky.path());
        fs::copy(kept, leaky.path(), fs::copy_options::recursive);
      },
      [&] {
        for (const std::string reference : {"web:1", "web:2", "db:1"}) {
          leaky.repository().restore(reference, leaky.repository() / "out");
        }
        vmpack_done(purge);
        leaky.repository().require_intact();
        leaky.require_without_secret("web:1", 1);
        REQUIRE_FALSE(leaky.is_stored());
      });
  CHECK(killed * 2 >= kills);
}

}  // namespace vmpack::test
