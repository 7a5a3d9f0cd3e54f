// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/writer_session.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/condemned.hpp"
#include "libvmpack/repo/leases.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/require_error.hpp"

namespace vmpack {
namespace {

using test::MemoryStore;

const SnapshotDigest kSnapshot(sha256(as_byte_view("a snapshot")));

struct Fixture {
  Fixture() : store(std::make_shared<MemoryStore>()) {
    Repository::init(*store, {});
    repository = Repository::open(store);
    store->put_if_absent("maps/aa", as_byte_view("a"));
  }
  std::shared_ptr<MemoryStore> store;
  std::shared_ptr<Repository> repository;
};

}  // namespace

TEST_CASE("a lease lasts as long as it is renewed, and no longer") {
  MemoryStore store;
  const auto lease = Lease::take(store, LeaseKind::kWriter, false);
  store.pass(Lease::kLeaseSeconds - 1);
  CHECK(lease->renew());
  store.pass(Lease::kLeaseSeconds - 1);
  CHECK_FALSE(list_leases(store).at(0).is_over(store.now()));
  CHECK(lease->renew());
  store.pass(Lease::kLeaseSeconds + 1);
  CHECK(list_leases(store).at(0).is_over(store.now()));
  CHECK_FALSE(lease->renew());
  CHECK_FALSE(lease->renew());
}

TEST_CASE("a lease that was taken away is lost, and not put back") {
  MemoryStore store;
  {
    const auto lease = Lease::take(store, LeaseKind::kWriter, false);
    store.remove(lease_key(list_leases(store).at(0).id));
    CHECK_FALSE(lease->renew());
  }
  CHECK(list_leases(store).empty());
}

TEST_CASE("leases end with what took them; there is one collector at a time") {
  MemoryStore store;
  {
    const auto writer = Lease::take(store, LeaseKind::kWriter, false);
    const auto another = Lease::take(store, LeaseKind::kWriter, false);
    const auto collector = Lease::take(store, LeaseKind::kCollector, false);
    CHECK(list_leases(store).size() == 3);
    CHECK(test::error_of([&] {
            static_cast<void>(Lease::take(store, LeaseKind::kCollector, false));
          }).code() == ErrorCode::kRefused);
  }
  CHECK(list_leases(store).empty());
  const auto dead = Lease::take(store, LeaseKind::kCollector, false);
  store.pass(Lease::kLeaseSeconds + 1);
  const auto next = Lease::take(store, LeaseKind::kCollector, false);
  CHECK_FALSE(dead->renew());
  CHECK(next->renew());
}

TEST_CASE("a hold lasts until its end, or until it is released") {
  MemoryStore store;
  const std::string id = hold_snapshot(store, kSnapshot, "a guest", {});
  const std::string limited = hold_snapshot(store, kSnapshot, "a guest", 10);
  store.pass(11);
  for (const LeaseFacts& lease : list_leases(store)) {
    CHECK(lease.kind == LeaseKind::kHold);
    CHECK(lease.snapshot == kSnapshot);
    CHECK(lease.is_over(store.now()) == (lease.id == limited));
  }
  release_hold(store, id);
  CHECK(list_leases(store).size() == 1);
  CHECK(test::error_of([&] { release_hold(store, id); }).code() == ErrorCode::kNotFound);
}

TEST_CASE("what is being deleted cannot be confirmed; what is only marked can") {
  Fixture at;
  const std::vector<std::string> keys{"maps/aa"};
  const WriterSession before(*at.repository, false);
  write_condemned(*at.store, {{{at.store->now(), false, keys}}});
  const WriterSession after(*at.repository, false);
  before.confirm(keys);
  after.confirm(keys);
  write_condemned(*at.store, {{{at.store->now(), true, keys}}});
  CHECK(test::error_of([&] { before.confirm(keys); }).code() == ErrorCode::kIo);
  CHECK(test::error_of([&] { after.confirm(keys); }).code() == ErrorCode::kIo);
  at.store->remove("maps/aa");
  write_condemned(*at.store, {});
  CHECK(test::error_of([&] { after.confirm(keys); }).code() == ErrorCode::kIo);
}

TEST_CASE("a writer that was paused for longer than its lease looks whether all is there") {
  Fixture at;
  const std::vector<std::string> keys{"maps/aa"};
  const WriterSession session(*at.repository, false);
  at.store->pass(Lease::kLeaseSeconds + 1);
  session.confirm(keys);
  at.store->remove("maps/aa");
  CHECK(test::error_of([&] { session.confirm(keys); }).code() == ErrorCode::kIo);
}

}  // namespace vmpack
