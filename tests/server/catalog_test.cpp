// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <atomic>
#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/repo/notes.hpp"
#include "server/http/catalog.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_store.hpp"

namespace vmpack {
namespace {

struct CatalogUnderTest {
  CatalogUnderTest() {
    store = std::make_shared<test::HookedStore>(
        std::make_shared<test::MemoryStore>(),
        [this](std::string_view, std::string_view, bool) { ++operations; });
    Repository::init(*store, {});
    repository = Repository::open(store);
  }
  SnapshotDigest add(const ReferenceName& name, std::uint64_t image_bytes) {
    Manifest manifest;
    manifest.image_bytes = image_bytes;
    manifest.data_bytes = image_bytes / 2;
    manifest.source_format = "raw";
    const std::string text = to_json(manifest);
    const SnapshotDigest snapshot(sha256(as_byte_view(text)));
    store->put_if_absent(manifest_key(snapshot), as_byte_view(text));
    repository->set_reference(name, snapshot, true);
    return snapshot;
  }

  std::atomic<int> operations = 0;
  std::shared_ptr<Store> store;
  std::shared_ptr<Repository> repository;
};

}  // namespace

TEST_CASE("a catalog tells what manifests and notes say") {
  CatalogUnderTest at;
  const SnapshotDigest web = at.add({"web", "v1"}, 4 * kMiB);
  at.add({"web", "v2"}, 4 * kMiB);
  at.add({"db", "v1"}, 8 * kMiB);
  at.repository->put_note(web, kOsNote, R"({"systems":[{"product_name":"Debian <12>","packages":[{},{}]}]})");
  at.repository->put_note(web, ingest_note({"web", "v1"}), R"({"stored_bytes":77})");
  at.store->put_if_absent("packs/aa/x.pack", as_byte_view("12345"));
  http::Catalog catalog(at.repository);
  const auto view = catalog.view();
  REQUIRE(view->rows.size() == 3);
  CHECK(view->complete);
  CHECK(view->rows[0].reference == "db:v1");
  const auto row = OrderedJson::parse(view->rows[1].json);
  CHECK(row.at("reference") == "web:v1");
  CHECK(row.at("os") == "Debian <12>");
  CHECK(row.at("packages") == 2);
  CHECK(row.at("stored_bytes") == 77);
  CHECK(row.at("image_bytes") == 4 * kMiB);
  CHECK(view->totals.references == 3);
  CHECK(view->totals.snapshots == 2);
  CHECK(view->totals.data_bytes == 6 * kMiB);
  CHECK(view->totals.stored_bytes == 5);
  CHECK(OrderedJson::parse(catalog.entry("web:v1")).at("os").size() == 1);
  CHECK_THROWS_AS(catalog.entry("none"), Error);
}

TEST_CASE("what is damaged is said to be so, and everything else is listed") {
  CatalogUnderTest at;
  at.add({"web", "v1"}, 4 * kMiB);
  const SnapshotDigest lost(sha256(as_byte_view("lost")));
  at.repository->set_reference({"lost", "v1"}, lost, true);
  http::Catalog catalog(at.repository);
  const auto view = catalog.view();
  REQUIRE(view->rows.size() == 2);
  CHECK(view->rows[0].json.find(R"("damaged":true)") != std::string::npos);
  CHECK(view->rows[1].json.find("damaged") == std::string::npos);
}

TEST_CASE("whoever looks again at once costs the store nothing, however many references there are") {
  CatalogUnderTest at;
  for (int i = 0; i < 1000; ++i) at.add({"web", fmt::format("v{}", i)}, (i % 50 + 1) * kMiB);
  http::Catalog catalog(at.repository);
  REQUIRE(catalog.view()->rows.size() == 1000);
  const int asked = at.operations;
  for (int i = 0; i < 100; ++i) REQUIRE(catalog.view()->rows.size() == 1000);
  CHECK(at.operations == asked);
}

}  // namespace vmpack
