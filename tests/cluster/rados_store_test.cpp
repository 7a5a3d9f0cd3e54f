// SPDX-License-Identifier: Apache-2.0
// The RADOS store on a real cluster (ceph.sh), which the environment names.
#include <catch2/catch.hpp>

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/rados/rados_pieces.hpp"
#include "libvmpack/store/rados/rados_pool.hpp"
#include "libvmpack/store/rados/rados_value_writer.hpp"
#include "libvmpack/store/store.hpp"
#include "tests/cluster/location.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::int64_t kAnyAge = -60;  // older than a minute to come

std::string new_location(const std::string& pool = program("VMPACK_CLUSTER_POOL")) {
  return fmt::format("rados://{}/{}", pool, new_prefix());
}

std::string as_user(const std::string& location, const std::string& name) {
  return fmt::format("{}?id={}&keyring={}/client.{}.keyring", location, name, program("VMPACK_CLUSTER"),
                     name);
}

std::set<std::string> objects_of(const std::string& location) {
  std::set<std::string> names;
  RadosPool(parse_rados_location(location)).list([&](std::string_view name) { names.emplace(name); });
  return names;
}

std::size_t count_pieces(const std::string& location) {
  std::size_t pieces = 0;
  for (const std::string& name : objects_of(location))
    pieces += name.starts_with("tmp/") && name != "tmp/clock" ? 1 : 0;
  return pieces;
}

Bytes value_of(std::uint64_t number) {
  return random_bytes(number, number % 2 == 0 ? 9 * kMiB + number : 1000);
}

void append_all(StoreDraft& draft, ByteView bytes) { draft.append(std::span(&bytes, 1)); }

// Puts values and replaces one until it is killed.
[[noreturn]] void write_for_ever(const std::string& location, std::uint64_t first) {
  const auto store = open_store(location);
  for (std::uint64_t i = first;; ++i) {
    const auto draft = store->begin_draft();
    append_all(*draft, value_of(i));
    draft->put_if_absent(fmt::format("packs/{:02}/{}", i % 100, i));
    const auto stat = store->stat("refs/latest");
    store->replace_if_version("refs/latest", Bytes(5 * kMiB, std::byte{'x'}),
                              stat ? std::optional(stat->version) : std::nullopt);
  }
}

}  // namespace

TEST_CASE("a RADOS store keeps the contract of stores") {
  const std::string location = new_location();
  check_store_contract([&] { return open_store(location); });
}

TEST_CASE("it does so for a user who has no rights outside the pool") {
  const std::string location = as_user(new_location(), "vmpack");
  const auto store = open_store(location);
  const Bytes value = random_bytes(1, 10 * kMiB);
  CHECK(store->put_if_absent("a/b", value));
  CHECK(store->get("a/b", kGiB) == value);
  CHECK(store->now() > 0);
  store->clean_up();
  store->remove("a/b");
  CHECK(objects_of(location) == std::set<std::string>{"tmp/clock"});
}

TEST_CASE("values larger than a piece are read across its borders, and go with all their pieces") {
  const std::string location = new_location();
  const auto store = open_store(location);
  const Bytes value = random_bytes(2, 21 * kMiB + 5);
  CHECK(store->put_if_absent("big", value));
  CHECK(count_pieces(location) == 6);
  Random random(3);
  for (int i = 0; i < 100; ++i) {
    const std::size_t offset = random.below(value.size());
    Bytes range(random.below(std::min<std::size_t>(value.size() - offset, 12 * kMiB) + 1));
    store->get_range("big", offset, range);
    REQUIRE(std::ranges::equal(range, ByteView(value).subspan(offset, range.size())));
  }
  const auto other = open_store(location);
  Bytes one(1);
  other->get_range("big", 20 * kMiB, one);
  const Bytes next = random_bytes(4, 9 * kMiB);
  CHECK(store->replace_if_version("big", next, store->stat("big")->version));
  CHECK(count_pieces(location) == 3);
  other->get_range("big", 8 * kMiB, one);
  CHECK(one[0] == next[8 * kMiB]);
  CHECK(store->replace_if_version("big", as_byte_view("small"), store->stat("big")->version));
  CHECK(count_pieces(location) == 0);
  CHECK(other->get("big", kGiB).size() == 5);
  other->get_range("big", 0, one);
  CHECK(as_text(one) == "s");
}

TEST_CASE("writers killed at any moment leave whole values, and what else they left can be removed") {
  const std::string location = new_location();
  Random random(11);
  std::uint64_t values = 0;
  const auto store = open_store(location);
  const auto count_packs = [&store] {
    std::size_t packs = 0;
    store->list("packs/", [&packs](const std::string&, std::uint64_t) { ++packs; });
    return packs;
  };
  // Where the machine is busy, no writer may have come far.
  for (std::uint64_t round = 0; round < 12 || (count_packs() == 0 && round < 60); ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) write_for_ever(location, round * 1000);
    ::usleep(static_cast<useconds_t>(100'000 + random.below(400'000)));
    ::kill(child, SIGKILL);
    CHECK(wait_for(child) == 128 + SIGKILL);
  }
  RadosPool pool(parse_rados_location(location));
  remove_rados_leftovers(pool, kAnyAge);
  std::size_t pieces = 0;
  store->list("", [&](const std::string& key, std::uint64_t bytes) {
    if (key == "refs/latest") {
      pieces += 2;
      CHECK(store->get(key, kGiB) == Bytes(5 * kMiB, std::byte{'x'}));
      return;
    }
    const Bytes expected = value_of(std::strtoull(key.c_str() + key.rfind('/') + 1, nullptr, 10));
    CHECK(bytes == expected.size());
    REQUIRE(store->get(key, kGiB) == expected);
    pieces += bytes > 4 * kMiB ? 3 : 0;
    ++values;
  });
  CHECK(values > 0);
  CHECK(count_pieces(location) == pieces);
}

TEST_CASE("a draft under way is no leftover, and one that took too long is told so") {
  const std::string location = new_location();
  const auto store = open_store(location);
  RadosPool pool(parse_rados_location(location));
  const Bytes value = random_bytes(5, 9 * kMiB);
  const auto draft = store->begin_draft();
  append_all(*draft, value);
  remove_rados_leftovers(pool, kRadosLeftoverSeconds);
  CHECK(draft->put_if_absent("in/time"));
  CHECK(store->get("in/time", kGiB) == value);

  const auto late = store->begin_draft();
  append_all(*late, value);
  remove_rados_leftovers(pool, kAnyAge);
  const Error error = error_of([&] { late->put_if_absent("too/late"); });
  CHECK_THAT(error.what(), Catch::Contains("too/late") && Catch::Contains("more than a day"));
  CHECK_FALSE(store->stat("too/late"));
  CHECK(store->get("in/time", kGiB) == value);
}

TEST_CASE("a missing or short piece is damage, and names the key") {
  const auto break_piece = GENERATE(0, 1);
  const std::string location = new_location();
  const auto store = open_store(location);
  CHECK(store->put_if_absent("big", random_bytes(6, 9 * kMiB)));
  RadosPool pool(parse_rados_location(location));
  const std::string piece = rados_piece_name(store->stat("big")->version.token, 1);
  if (break_piece == 0) {
    CHECK(pool.write(piece, std::move(pool.begin_write().remove()), 0) == 0);
  } else {
    CHECK(pool.write(piece, std::move(pool.begin_write().write_all_of(as_byte_view("short"))), 0) == 0);
  }
  Bytes range(6 * kMiB);
  for (const Error& error : {error_of([&] { (void)store->get("big", kGiB); }),
                             error_of([&] { store->get_range("big", 0, range); })}) {
    CHECK(error.code() == ErrorCode::kDamaged);
    CHECK_THAT(error.what(), Catch::Contains(location + "/big"));
  }
  store->get_range("big", 0, ByteSpan(range).first(kMiB));
}

TEST_CASE("who may only read can do that, and is told what writing takes") {
  const std::string location = new_location();
  const Bytes value = random_bytes(7, 9 * kMiB);
  CHECK(open_store(location)->put_if_absent("a/b", value));
  const auto store = open_store(as_user(location, "reader"));
  CHECK(store->get("a/b", kGiB) == value);
  std::size_t listed = 0;
  store->list("", [&](const std::string&, std::uint64_t) { ++listed; });
  CHECK(listed == 1);
  for (const Error& error :
       {error_of([&] { store->put_if_absent("c", as_byte_view("x")); }),
        error_of([&] { store->put_if_absent("c", value); }), error_of([&] { store->remove("a/b"); })}) {
    CHECK(error.code() == ErrorCode::kIo);
    CHECK_THAT(error.what(), Catch::Contains("not permitted"));
    CHECK_THAT(error.hint(), Catch::Contains("ceph auth caps client.reader"));
  }
  CHECK(open_store(location)->get("a/b", kGiB) == value);
}

TEST_CASE("a store that cannot be opened says why, and does not hang") {
  const TempDir folder;
  const std::string location = new_location();
  SECTION("without the pool") {
    const Error error = error_of([] { (void)open_store("rados://no-such-pool/x"); });
    CHECK(error.code() == ErrorCode::kNotFound);
    CHECK_THAT(error.what(), Catch::Contains("no pool 'no-such-pool'"));
  }
  SECTION("with a key that is not the user's") {
    write_file(folder / "keyring", "[client.vmpack]\nkey = AQBPv0NnAAAAABAAyw0dKBxHxKuBXfqLPJZ0Hw==\n");
    const Error error =
        error_of([&] { (void)open_store(location + "?id=vmpack&keyring=" + (folder / "keyring")); });
    CHECK_THAT(error.what(), Catch::Contains("cannot connect to " + location));
    CHECK_THAT(error.hint(), Catch::Contains("client.vmpack"));
  }
  SECTION("with a user that the cluster does not know, or who has no key here") {
    for (const char* id : {"nobody", "vmpack"}) {
      const Error error = error_of([&] { (void)open_store(location + "?id=" + id); });
      CHECK_THAT(error.what(), Catch::Contains("cannot connect to " + location));
      CHECK_THAT(error.hint(), Catch::Contains(std::string("client.") + id));
    }
  }
  SECTION("without a cluster at the address, in time") {
    write_file(folder / "ceph.conf",
               "[global]\nmon host = 127.0.0.1:1\nkeyring = " + program("VMPACK_CLUSTER") + "/keyring\n");
    const Error error =
        error_of([&] { (void)open_store(location + "?timeout=2&conf=" + (folder / "ceph.conf")); });
    CHECK(error.code() == ErrorCode::kIo);
    CHECK_THAT(error.hint(), Catch::Contains("ceph status"));
  }
  SECTION("without a configuration") {
    const Error error = error_of([&] { (void)open_store(location + "?conf=" + (folder / "none")); });
    CHECK(error.code() == ErrorCode::kNotFound);
    CHECK_THAT(error.hint(), Catch::Contains("CEPH_CONF"));
  }
}

TEST_CASE("a full pool is told as such, at once, and nothing is lost") {
  run_or_throw({"ceph", "osd", "pool", "create", "small", "8", "8"});
  run_or_throw({"ceph", "osd", "pool", "set-quota", "small", "max_bytes", std::to_string(32 * kMiB)});
  const std::string location = new_location("small");
  const auto store = open_store(location);
  std::vector<std::string> keys;
  std::optional<Error> failed;
  // The cluster notices only after some seconds that a quota is reached.
  for (std::uint64_t i = 0; i < 300 && !failed; ++i) {
    std::string key = fmt::format("packs/{}", i);
    try {
      store->put_if_absent(key, random_bytes(i, 5 * kMiB));
      keys.push_back(std::move(key));
      if (keys.size() > 6) ::usleep(500'000);
    } catch (const Error& error) {
      failed = error;
      CHECK_FALSE(store->stat(key));
    }
  }
  REQUIRE(failed);
  CHECK(failed->code() == ErrorCode::kNoSpace);
  CHECK_THAT(failed->hint(), Catch::Contains("get-quota small"));
  for (std::size_t i = 0; i < keys.size(); ++i) CHECK(store->get(keys[i], kGiB) == random_bytes(i, 5 * kMiB));
  CHECK(count_pieces(location) == 2 * keys.size());
  for (const std::string& key : keys) store->remove(key);
  CHECK(count_pieces(location) == 0);
  run_or_throw({"ceph", "osd", "pool", "delete", "small", "small", "--yes-i-really-really-mean-it"});
}
