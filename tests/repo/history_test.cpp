// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/history.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/snapshot/places.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;

namespace {

/// Snapshots of nothing but a manifest, places of frames that are nowhere, and a time.
class Repo {
 public:
  Repo() {
    Repository::init(*store_, {});
    repository_ = Repository::open(store_);
  }

  /// Committed as `reference` at that time. A frame's number is also its size.
  SnapshotDigest add(const ReferenceName& reference, std::int64_t seconds,
                     const std::vector<std::uint8_t>& frames,
                     const std::optional<SnapshotDigest>& parent = {}) {
    Manifest manifest;
    manifest.map.bytes[0] = ++count_;
    manifest.parent = parent;
    manifest.labels = {{"build", std::to_string(count_)}};
    const std::string text = to_json(manifest);
    const SnapshotDigest snapshot(sha256(as_byte_view(text)));
    std::vector<FramePlace> places;
    for (const std::uint8_t number : frames) {
      FramePlace place;
      place.frame.bytes[0] = number;
      place.location.stored_bytes = number;
      places.push_back(place);
    }
    store_->put_if_absent(places_key(snapshot), encode_places(snapshot, places));
    store_->put_if_absent(manifest_key(snapshot), as_byte_view(text));
    repository_->put_note(snapshot, "names/" + reference.name, "{\"time\": " + std::to_string(seconds) + "}");
    repository_->set_reference(reference, snapshot, true);
    return snapshot;
  }

  std::vector<HistoryEntry> history(std::string_view name, const std::optional<SnapshotDigest>& from = {}) {
    damaged_.clear();
    return vmpack::history(*repository_, name, from, damaged_);
  }
  [[nodiscard]] const std::vector<std::string>& damaged() const { return damaged_; }
  [[nodiscard]] Store& store() const { return *store_; }
  [[nodiscard]] const Repository& repository() const { return *repository_; }

 private:
  test::TempDir folder_;
  std::shared_ptr<Store> store_ = open_directory_store(folder_.path());
  std::shared_ptr<Repository> repository_;
  std::uint8_t count_ = 0;
  std::vector<std::string> damaged_;
};

std::vector<SnapshotDigest> snapshots_of(const std::vector<HistoryEntry>& entries) {
  std::vector<SnapshotDigest> snapshots;
  for (const HistoryEntry& entry : entries) snapshots.push_back(entry.snapshot);
  return snapshots;
}

}  // namespace

TEST_CASE("a history goes from the newest to the oldest, with what each added to its parent") {
  Repo repo;
  const auto one = repo.add({"web", "v"}, 100, {10, 20, 30});
  const auto two = repo.add({"web", "v"}, 200, {10, 20, 31}, one);
  const auto three = repo.add({"web", "v"}, 300, {10, 20, 31, 5, 6}, two);
  const auto branch = repo.add({"web", "fix"}, 250, {10, 20, 30, 7}, one);
  const auto entries = repo.history("web");
  CHECK(repo.damaged().empty());
  REQUIRE(snapshots_of(entries) == std::vector{three, branch, two, one});
  CHECK(entries[0].added_bytes == 11);
  CHECK(entries[1].added_bytes == 7);
  CHECK(entries[2].added_bytes == 31);
  CHECK(entries[3].added_bytes == 60);
  CHECK(entries[0].parent_entry == 2);
  CHECK(entries[1].parent_entry == 3);
  CHECK(entries[2].parent_entry == 3);
  CHECK_FALSE(entries[3].parent_entry);
  CHECK(entries[0].references == std::vector{ReferenceName{"web", "v"}});
  CHECK(entries[2].references.empty());
  CHECK(entries[2].seconds == 200);
  CHECK(entries[2].labels.at("build") == "2");
}

TEST_CASE("without a parent all counts that no older snapshot of the name has") {
  Repo repo;
  repo.add({"web", "v1"}, 100, {10, 20});
  repo.add({"db", "v1"}, 150, {40});
  repo.add({"web", "v2"}, 200, {20, 30, 40});
  const auto entries = repo.history("web");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].added_bytes == 70);
  CHECK(entries[1].added_bytes == 30);
}

TEST_CASE("ancestors under other names belong to a history, and are told apart") {
  Repo repo;
  const auto base = repo.add({"base", "v1"}, 100, {10});
  const auto between = repo.add({"scratch", "x"}, 150, {10, 11}, base);
  const auto web = repo.add({"web", "v1"}, 200, {10, 11, 12}, between);
  repo.add({"base", "v2"}, 300, {13}, base);
  const auto entries = repo.history("web");
  REQUIRE(snapshots_of(entries) == std::vector{web, between, base});
  CHECK(entries[0].named);
  CHECK_FALSE(entries[1].named);
  CHECK_FALSE(entries[2].named);
  CHECK(entries[2].references == std::vector{ReferenceName{"base", "v1"}});
}

TEST_CASE("a child comes before its parent even when its clock was behind") {
  Repo repo;
  const auto parent = repo.add({"web", "v1"}, 500, {10});
  const auto child = repo.add({"web", "v2"}, 100, {10, 11}, parent);
  CHECK(snapshots_of(repo.history("web")) == std::vector{child, parent});
}

TEST_CASE("from one snapshot on a history holds its ancestors alone") {
  Repo repo;
  const auto one = repo.add({"web", "v1"}, 100, {10});
  const auto two = repo.add({"web", "v2"}, 200, {10, 11}, one);
  repo.add({"web", "v3"}, 300, {10, 11, 12}, two);
  repo.add({"web", "other"}, 400, {13});
  CHECK(snapshots_of(repo.history("web", two)) == std::vector{two, one});
}

TEST_CASE("a parent that is gone is known by its digest, and its child counts like a first one") {
  Repo repo;
  const auto one = repo.add({"web", "v1"}, 100, {10});
  const auto two = repo.add({"web", "v2"}, 200, {10, 11}, one);
  repo.repository().remove_reference({"web", "v1"});
  repo.store().remove(manifest_key(one));
  const auto entries = repo.history("web");
  CHECK(repo.damaged().empty());
  REQUIRE(snapshots_of(entries) == std::vector{two});
  CHECK(entries[0].parent == one);
  CHECK_FALSE(entries[0].parent_entry);
  CHECK(entries[0].added_bytes == 21);
}

TEST_CASE("damage in one snapshot is told, and hides no other") {
  Repo repo;
  const auto one = repo.add({"web", "v1"}, 100, {10});
  const auto two = repo.add({"web", "v2"}, 200, {11});
  repo.store().remove(places_key(one));
  CHECK(snapshots_of(repo.history("web")) == std::vector{two, one});
  CHECK(repo.damaged().size() == 1);
  repo.store().remove(manifest_key(one));
  repo.store().put_if_absent(manifest_key(one), as_byte_view("{}"));
  CHECK(snapshots_of(repo.history("web")) == std::vector{two});
  CHECK(repo.damaged().size() == 1);
}
