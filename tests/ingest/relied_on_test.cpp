// SPDX-License-Identifier: Apache-2.0
// What an ingest found stored must still be there when it commits.
#include <catch2/catch.hpp>

#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/repo/verify.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using test::error_of;

namespace {

IngestResult add(const std::shared_ptr<Store>& store, const Bytes& image, const std::string& name) {
  test::MemorySource source(image);
  Layout layout;
  layout.image_bytes = image.size();
  NoProgress progress;
  return ingest(Repository::open(store), source, layout, parse_reference_name(name), {}, progress);
}

}  // namespace

TEST_CASE("an ingest commits nothing when a pack that it relies on is gone, or cut short") {
  const auto contents = std::make_shared<test::MemoryStoreContents>();
  const auto store = std::make_shared<test::MemoryStore>(contents);
  Repository::init(*store, {});
  Bytes image = test::random_bytes(1, 4 * kMiB);
  add(store, image, "a:1");
  const std::string pack = pack_key(list_packs(*store).front());
  const Bytes more = test::random_bytes(2, kMiB);
  std::ranges::copy(more, image.begin());

  SECTION("gone") { store->remove(pack); }
  SECTION("cut short") {
    auto& value = contents->values.at(pack);
    value.bytes = std::make_shared<Bytes>(value.bytes->begin(), value.bytes->begin() + 1000);
  }
  const Error error = error_of([&] { add(store, image, "b:1"); });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK(std::string(error.what()).find(pack) != std::string::npos);
  CHECK(error.hint().find("run the command again") != std::string::npos);
  CHECK_FALSE(Repository::open(store)->find(parse_reference_name("b:1")));
  CHECK(Repository::open(store)->snapshots().size() == 1);
}
