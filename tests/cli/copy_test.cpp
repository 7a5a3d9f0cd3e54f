// SPDX-License-Identifier: Apache-2.0
// Snapshots move between repositories: whole, verified, and no byte more than is lacking there.
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

/// A repository with two builds, the second packed against the first, and one of another name.
class Source {
 public:
  Source() {
    use_small_packs(repository_);
    make_sample_image(image(1), 12 * kMiB, 1);
    std::filesystem::copy_file(image(1), image(2));
    overwrite(image(2), 8 * kMiB, text_bytes(5, kMiB));
    overwrite(image(2), 2 * kMiB, random_bytes(6, 64 * kKiB));
    make_mixed_disk(image(3), 4 * kMiB, 7);
    repository_.ingest(image(1), "web:1");
    repository_.ingest(image(2), "web:2", {"--parent", "web:1"});
    repository_.ingest(image(3), "db:1");
  }

  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] std::string path() const { return repository_.path(); }
  [[nodiscard]] std::string image(int number) const { return repository_ / fmt::format("image-{}", number); }
  [[nodiscard]] OrderedJson copy(const std::vector<std::string>& references, const SampleRepository& to,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"copy", "--repo", path(), "--to", to.path()};
    arguments.insert(arguments.end(), references.begin(), references.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack_json(arguments);
  }

 private:
  SampleRepository repository_{memory_folder()};
};

void require_image(const SampleRepository& repository, const std::string& reference,
                   const std::string& image) {
  repository.restore(reference, repository / "out");
  REQUIRE(same_bytes(repository / "out", image));
}

std::vector<std::string> keys_of(const SampleRepository& repository, std::string_view folder) {
  std::vector<std::string> keys;
  for (const auto& [key, content] : repository.contents()) {
    if (key.starts_with(folder)) keys.push_back(key);
  }
  return keys;
}

}  // namespace

TEST_CASE("a copied snapshot is the same image, the same snapshot, and needs nothing of where it came from") {
  const Source source;
  const SampleRepository target(memory_folder());
  const OrderedJson report = source.copy({"web:2"}, target);
  CHECK(report.at("bytes_moved") == report.at("bytes"));
  target.require_intact();
  require_image(target, "web:2", source.image(2));
  const OrderedJson there = vmpack_json({"list", "--repo", target.path()}).at("references");
  REQUIRE(there.size() == 1);
  CHECK(there[0].at("snapshot") == report.at("references")[0].at("snapshot"));
  const std::string files = vmpack_done({"files", "web:2", "--repo", target.path()});
  CHECK(files == vmpack_done({"files", "web:2", "--repo", source.path()}));
  // It can be built on, and finds what it holds.
  CHECK(target.ingest(source.image(2), "again:1").at("stored_bytes") <
        report.at("bytes").get<std::uint64_t>() / 2);
}

TEST_CASE("only what the other side lacks is moved, and the dry run knows how much that is") {
  const Source source;
  const SampleRepository target(memory_folder());
  const OrderedJson first = source.copy({"web:1"}, target);
  const auto before = target.contents();
  const OrderedJson expected = source.copy({"web:*"}, target, {"--dry-run"});
  CHECK((target.contents() == before));
  CHECK(expected.at("bytes_moved") < first.at("bytes_moved").get<std::uint64_t>() / 2);
  CHECK(expected.at("bytes_moved") > kMiB / 8);
  const OrderedJson second = source.copy({"web:*"}, target);
  CHECK(second.at("bytes_moved") == expected.at("bytes_moved"));
  CHECK(second.at("snapshots") == 2);
  CHECK(source.copy({"web:*"}, target).at("bytes_moved") == 0);
  target.require_intact();
  require_image(target, "web:1", source.image(1));
  require_image(target, "web:2", source.image(2));
}

TEST_CASE("everything copied at once gives the same packs, and --from is --to seen from the other side") {
  const Source source;
  const SampleRepository target(memory_folder());
  vmpack_done({"copy", "--all", "--from", source.path(), "--repo", target.path()});
  target.require_intact();
  CHECK(keys_of(target, "packs/") == keys_of(source.repository(), "packs/"));
  CHECK(keys_of(target, "snapshots/") == keys_of(source.repository(), "snapshots/"));
  CHECK(keys_of(target, "notes/") == keys_of(source.repository(), "notes/"));
  for (int i = 1; i <= 2; ++i) require_image(target, fmt::format("web:{}", i), source.image(i));
  require_image(target, "db:1", source.image(3));
}

TEST_CASE("a reference that points elsewhere there is moved only on demand, and before anything is written") {
  const Source source;
  const SampleRepository target(memory_folder());
  target.ingest(source.image(3), "web:1");
  const auto before = target.contents();
  const std::vector<std::string> copy{"copy", "web:1", "--repo", source.path(), "--to", target.path()};
  require_one_line(vmpack(copy), 1, {"web:1", "--force", "--as"});
  CHECK((target.contents() == before));
  static_cast<void>(source.copy({"web:1"}, target, {"--as", "other:9"}));
  require_image(target, "other:9", source.image(1));
  require_image(target, "web:1", source.image(3));
  static_cast<void>(source.copy({"web:1"}, target, {"--force"}));
  require_image(target, "web:1", source.image(1));
}

TEST_CASE("a copy that makes no sense is refused in one line") {
  const Source source;
  const SampleRepository target(memory_folder());
  const auto refuse = [&](std::vector<std::string> arguments, int code,
                          const std::vector<std::string>& words) {
    arguments.insert(arguments.begin(), {"copy", "--repo", source.path()});
    require_one_line(vmpack(arguments), code, words);
  };
  const std::string snapshot = vmpack_json({"show", "web:1", "--repo", source.path()}).at("snapshot");
  refuse({"web:1"}, 2, {"--to", "--from"});
  refuse({"web:1", "--to", target.path(), "--from", target.path()}, 2, {"--to", "--from"});
  refuse({"--to", target.path()}, 2, {"--all"});
  refuse({"--to", target.path(), "--all", "web:1"}, 2, {"--all"});
  refuse({"--to", target.path(), "web@" + snapshot}, 2, {"--as"});
  refuse({"--to", target.path(), "web:*", "--as", "x:1"}, 2, {"--as"});
  refuse({"--to", target.path(), "none:1"}, 1, {"none:1"});
  refuse({"--to", target.path(), "no*"}, 1, {"no*"});
  refuse({"--to", target / "nowhere", "web:1"}, 1, {"nowhere"});
  CHECK(keys_of(target, "packs/").empty());
  vmpack_done({"copy", "--repo", source.path(), "--to", target.path(), "web@" + snapshot, "--as", "x:1"});
  require_image(target, "x:1", source.image(1));
}

TEST_CASE("damage does not travel, and what arrived before it need not move again") {
  const Source source;
  const SampleRepository target(memory_folder());
  const std::vector<std::string> packs = keys_of(source.repository(), "packs/");
  REQUIRE(packs.size() > 4);
  const std::string path = source.path() + "/" + packs.back();
  Bytes pack = read_file(path);
  pack[1000] ^= std::byte{1};
  write_file(path, pack);
  const CommandResult failed = vmpack({"copy", "--all", "--repo", source.path(), "--to", target.path()});
  require_one_line(failed, 1, {packs.back(), "SHA-256"});
  target.require_intact();
  CHECK(vmpack_json({"list", "--repo", target.path()}).at("references").empty());
  pack[1000] ^= std::byte{1};
  write_file(path, pack);
  const OrderedJson report = source.copy({"--all"}, target);
  target.require_intact();
  require_image(target, "web:2", source.image(2));
  CHECK(report.at("bytes_moved") <= report.at("bytes"));
}

}  // namespace vmpack::test
