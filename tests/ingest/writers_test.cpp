// SPDX-License-Identifier: Apache-2.0
// Several writers at once: what is common to their images is stored once, whoever comes first.
#include <catch2/catch.hpp>
#include <thread>

#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/repo/leases.hpp"
#include "libvmpack/repo/object_index.hpp"
#include "libvmpack/repo/verify.hpp"
#include "libvmpack/repo/writer_claims.hpp"
#include "tests/support/memory_source.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;

namespace {

constexpr std::uint64_t kImage = 128 * kMiB;

struct Shared {
  std::shared_ptr<test::MemoryStore> store = std::make_shared<test::MemoryStore>();
  std::shared_ptr<Repository> repository;

  Shared() {
    Repository::init(*store, {});
    repository = Repository::open(store);
  }
  [[nodiscard]] IngestResult add(const Bytes& image, const std::string& name) const {
    test::MemorySource source(image);
    Layout layout;
    layout.image_bytes = image.size();
    NoProgress progress;
    return ingest(repository, source, layout, parse_reference_name(name), {1}, progress);
  }
  [[nodiscard]] std::vector<std::string> keys(std::string_view folder) const {
    std::vector<std::string> keys;
    store->list(folder, [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
    return keys;
  }
};

/// Builds of one image: each differs from the others in a few places.
std::vector<Bytes> make_builds(std::uint64_t count) {
  std::vector<Bytes> builds(count, test::random_bytes(1, kImage));
  for (std::uint64_t i = 0; i < count; ++i) {
    for (std::uint64_t k = 0; k < 6; ++k) {
      const Bytes own = test::random_bytes(100 + i * 10 + k, kMiB);
      std::ranges::copy(own, builds[i].begin() + static_cast<std::ptrdiff_t>((i + 20 * k) * kMiB));
    }
  }
  return builds;
}

ObjectDigest object(std::uint64_t number) { return ObjectDigest(sha256(struct_bytes(number))); }

}  // namespace

TEST_CASE("three builds stored at once take hardly more than one after another, and come back") {
  const std::vector<Bytes> builds = make_builds(3);
  std::uint64_t in_turn = 0;
  {
    const Shared shared;
    for (std::size_t i = 0; i < builds.size(); ++i)
      in_turn += shared.add(builds[i], "build:" + std::to_string(i)).added.bytes_new;
  }
  const Shared shared;
  std::vector<IngestResult> results(builds.size());
  {
    std::vector<std::jthread> writers;
    for (std::size_t i = 0; i < builds.size(); ++i) {
      writers.emplace_back([&, i] { results[i] = shared.add(builds[i], "build:" + std::to_string(i)); });
    }
  }
  std::uint64_t at_once = 0;
  for (const IngestResult& result : results) at_once += result.added.bytes_new;
  INFO(at_once << " bytes of new objects at once, " << in_turn << " in turn");
  CHECK(at_once <= in_turn + in_turn / 20);

  NoProgress progress;
  CHECK(verify(shared.store, {{}, false, 2}, progress).damage.empty());
  for (std::size_t i = 0; i < builds.size(); ++i) {
    const auto image =
        ImageReader::open(shared.repository, results[i].snapshot, std::make_shared<FrameCache>(64 * kMiB));
    Bytes back(kImage);
    image->read(0, back);
    CHECK(back == builds[i]);
  }
  CHECK(shared.keys("claims/").empty());
  CHECK(shared.keys("leases/").empty());
  CHECK(shared.keys("index/").size() == builds.size());
}

TEST_CASE("what one writer claims the others leave to it, until it is taken back or the writer is gone") {
  test::MemoryStore store;
  auto first_lease = Lease::take(store, LeaseKind::kWriter, false);
  WriterClaims first(store, first_lease->id());
  CHECK_FALSE(first.look());
  const std::vector<ObjectDigest> alone{object(1)};
  first.claim(0, alone);
  CHECK(store.contents().values.size() == 1);  // the lease: nobody is there to be told

  const auto second_lease = Lease::take(store, LeaseKind::kWriter, false);
  WriterClaims second(store, second_lease->id());
  CHECK(second.look());
  CHECK_FALSE(second.is_claimed(object(1)));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(first.look());
  const std::vector<ObjectDigest> more{object(2)};
  first.claim(1, more);
  CHECK(second.look());
  CHECK(second.is_claimed(object(1)));
  CHECK(second.is_claimed(object(2)));
  CHECK_FALSE(second.is_claimed(object(3)));

  second.claim(0, more);
  CHECK(first.look());
  CHECK(first.is_claimed_before_ours(object(2)) != second.is_claimed_before_ours(object(2)));

  SECTION("taken back") {
    first.take_back(2);
    CHECK(second.look());
    CHECK_FALSE(second.is_claimed(object(2)));
  }
  SECTION("dead") {
    store.pass(Lease::kLeaseSeconds / 2);
    CHECK(second_lease->renew());
    store.pass(Lease::kLeaseSeconds / 2 + 10);
    CHECK_FALSE(second.look());
    CHECK_FALSE(second.is_claimed(object(2)));
  }
}

TEST_CASE("what a killed writer claimed is stored by the next one, and its claims are removed") {
  const Shared shared;
  const Bytes image = test::random_bytes(5, 4 * kMiB);
  std::string dead;
  {
    const auto lease = Lease::take(*shared.store, LeaseKind::kWriter, false);
    dead = lease->id();
  }
  const std::string claim = "claims/" + dead + "/00000000";
  shared.store->put_if_absent(claim, as_byte_view("left behind"));
  const auto other = Lease::take(*shared.store, LeaseKind::kWriter, false);  // so that it looks at claims
  const IngestResult result = shared.add(image, "a:1");
  CHECK(result.added.bytes_new == image.size());
  CHECK(shared.keys("claims/").empty());
}
