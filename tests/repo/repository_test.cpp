// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/repository.hpp"

#include <catch2/catch.hpp>
#include <thread>

#include "libvmpack/base/sealed_json.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

struct Repo {
  test::TempDir folder;
  std::shared_ptr<Store> store = open_directory_store(folder.path());
  std::shared_ptr<Repository> repository;
  Repo() {
    Repository::init(*store, {});
    repository = Repository::open(store);
  }
  SnapshotDigest add_snapshot(std::uint8_t number) {
    Manifest manifest;
    manifest.map.bytes[0] = number;
    const std::string text = to_json(manifest);
    const SnapshotDigest snapshot(sha256(as_byte_view(text)));
    store->put_if_absent(manifest_key(snapshot), as_byte_view(text));
    return snapshot;
  }
};

}  // namespace

TEST_CASE("a repository is made once, and only where nothing is") {
  Repo repo;
  CHECK(error_of([&] { Repository::init(*repo.store, {}); }).code() == ErrorCode::kAlreadyExists);
  const test::TempDir other;
  const auto store = open_directory_store(other.path());
  store->put_if_absent("something", Bytes(1));
  CHECK(error_of([&] { Repository::init(*store, {}); }).code() == ErrorCode::kRefused);
  CHECK(error_of([&] { (void)Repository::open(open_directory_store(other.path())); }).code() ==
        ErrorCode::kNotFound);
}

TEST_CASE("a repository of a later version is refused by name, before anything in it is touched") {
  const test::TempDir folder;
  const std::shared_ptr<Store> store = open_directory_store(folder.path());
  store->put_if_absent(
      "vmpack.json", as_byte_view(seal_json(
                         "{\"format\": \"vmpack-repository\", \"version\": 2, \"required_features\": []}")));
  const Error version = error_of([&] { (void)Repository::open(store); });
  CHECK(version.code() == ErrorCode::kUnsupported);
  CHECK_THAT(version.what(), Catch::Contains("version 2"));
}

TEST_CASE("references are set, found, listed and moved only on demand") {
  Repo repo;
  const auto one = repo.add_snapshot(1);
  const auto two = repo.add_snapshot(2);
  repo.repository->set_reference({"web", "v1"}, one, false);
  repo.repository->set_reference({"web", "v1"}, one, false);  // as it is: no error
  CHECK(error_of([&] { repo.repository->set_reference({"web", "v1"}, two, false); }).code() ==
        ErrorCode::kAlreadyExists);
  repo.repository->set_reference({"web", "v1"}, two, true);
  const auto entries = repo.repository->references();
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].snapshot == two);
  CHECK(entries[0].sequence == 2);
  CHECK(repo.repository->resolve("web:v1") == two);
}

TEST_CASE("a digest finds its snapshot after the tag has moved on, under its own name alone") {
  Repo repo;
  const auto one = repo.add_snapshot(1);
  const auto two = repo.add_snapshot(2);
  repo.repository->set_reference({"web", "v1"}, one, false);
  repo.repository->set_reference({"web", "v1"}, two, true);
  CHECK(repo.repository->resolve("web@" + one.hex().substr(0, 12)) == one);
  CHECK(error_of([&] { (void)repo.repository->resolve("db@" + one.hex()); }).code() == ErrorCode::kNotFound);
  CHECK(error_of([&] { (void)repo.repository->resolve("web:v2"); }).code() == ErrorCode::kNotFound);
}

TEST_CASE("a reference that was removed is gone, and goes on in its sequence when it is set again") {
  Repo repo;
  const auto one = repo.add_snapshot(1);
  const auto two = repo.add_snapshot(2);
  repo.repository->set_reference({"web", "v1"}, one, false);
  repo.repository->set_reference({"web", "v2"}, one, false);
  const ReferenceEntry removed = repo.repository->remove_reference({"web", "v1"});
  CHECK(removed.snapshot == one);
  CHECK(removed.sequence == 1);
  CHECK_FALSE(repo.repository->find({"web", "v1"}));
  CHECK(repo.repository->references().size() == 1);
  CHECK(error_of([&] { (void)repo.repository->resolve("web:v1"); }).code() == ErrorCode::kNotFound);
  CHECK(error_of([&] { repo.repository->remove_reference({"web", "v1"}); }).code() == ErrorCode::kNotFound);
  CHECK(error_of([&] { repo.repository->remove_reference({"web", "v9"}); }).code() == ErrorCode::kNotFound);
  CHECK(repo.repository->resolve("web@" + one.hex()) == one);

  repo.repository->set_reference({"web", "v1"}, two, false);  // not there: nothing to be forced
  const auto entry = repo.repository->find({"web", "v1"});
  REQUIRE(entry);
  CHECK(entry->snapshot == two);
  CHECK(entry->sequence == 3);
}

TEST_CASE("a reader that does not know of removed references refuses them by name") {
  Repo repo;
  repo.repository->set_reference({"web", "v1"}, repo.add_snapshot(1), false);
  repo.repository->remove_reference({"web", "v1"});
  CHECK_THAT(std::string(as_text(repo.store->get("refs/web/v1", 1000))),
             Catch::Contains("\"removed\"") && !Catch::Contains("\"snapshot\""));
}

TEST_CASE("of many who remove one reference at once exactly one does") {
  Repo repo;
  repo.repository->set_reference({"web", "v1"}, repo.add_snapshot(1), false);
  std::atomic<int> removers{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        try {
          repo.repository->remove_reference({"web", "v1"});
          ++removers;
        } catch (const Error&) {
        }
      });
    }
  }
  CHECK(removers == 1);
}

TEST_CASE("what was ever committed under a name is known, with the time, whatever the tags say now") {
  Repo repo;
  const auto one = repo.add_snapshot(1);
  const auto two = repo.add_snapshot(2);
  const auto other = repo.add_snapshot(3);
  repo.repository->set_reference({"web", "v1"}, one, false);
  repo.repository->set_reference({"web", "v1"}, two, true);
  repo.repository->set_reference({"db", "v1"}, other, true);
  repo.repository->put_note(two, "names/web", "{}");  // as older versions wrote it
  const auto named = repo.repository->committed_as("web");
  REQUIRE(named.size() == 2);
  for (const NamedSnapshot& snapshot : named) {
    CHECK((snapshot.snapshot == one || snapshot.snapshot == two));
    CHECK(std::abs(snapshot.seconds - repo.store->now()) < 60);
  }
  repo.store->remove(manifest_key(one));
  CHECK(repo.repository->committed_as("web").size() == 1);
  CHECK(repo.repository->committed_as("nobody").empty());
}

TEST_CASE("of many who set one new reference at once exactly one wins") {
  Repo repo;
  std::vector<SnapshotDigest> snapshots;
  for (std::uint8_t i = 0; i < 8; ++i) snapshots.push_back(repo.add_snapshot(i));
  std::atomic<int> winners{0};
  {
    std::vector<std::jthread> threads;
    for (const SnapshotDigest& snapshot : snapshots) {
      threads.emplace_back([&] {
        try {
          repo.repository->set_reference({"web", "v1"}, snapshot, false);
          ++winners;
        } catch (const Error&) {
        }
      });
    }
  }
  CHECK(winners == 1);
}

TEST_CASE("notes are kept beside a snapshot and replaced") {
  Repo repo;
  const auto snapshot = repo.add_snapshot(1);
  CHECK_FALSE(repo.repository->note(snapshot, "os/facts"));
  repo.repository->put_note(snapshot, "os/facts", "{\"a\": 1}");
  repo.repository->put_note(snapshot, "os/facts", "{\"a\": 2}");
  CHECK_THAT(*repo.repository->note(snapshot, "os/facts"), Catch::Contains("\"a\": 2"));
}
