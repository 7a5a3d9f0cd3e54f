// SPDX-License-Identifier: Apache-2.0
#include "tests/store/store_contract.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <catch2/catch.hpp>
#include <thread>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kAnySize = kGiB;

bool put(Store& store, std::string_view key, std::string_view text) {
  return store.put_if_absent(key, as_byte_view(text));
}

std::string text_of(Store& store, std::string_view key) {
  const Bytes bytes = store.get(key, kAnySize);
  return std::string(as_text(bytes));
}

std::vector<std::string> keys_of(Store& store, std::string_view prefix = "") {
  std::vector<std::string> keys;
  store.list(prefix, [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  return keys;
}

// Runs `work(i)` in `count` processes that start together; returns how many of them returned true.
int count_true_in_processes(int count, const std::function<bool(int)>& work) {
  std::vector<int> children;
  for (int i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int code = 2;
      try {
        code = work(i) ? 1 : 0;
      } catch (const std::exception& error) {
        fmt::print(stderr, "process {}: {}\n", i, error.what());
      }
      ::_exit(code);
    }
    children.push_back(child);
  }
  int count_true = 0;
  for (const int child : children) {
    const int code = wait_for(child);
    CHECK(code <= 1);
    count_true += code == 1 ? 1 : 0;
  }
  return count_true;
}

void check_values(const OpenStore& open) {
  const auto store = open();

  SECTION("a value is what was put, its parts joined") {
    const std::vector<ByteView> parts = {
        as_byte_view("one "), {}, as_byte_view("two "), as_byte_view("three")};
    CHECK(store->put_if_absent("a/b/c", parts));
    CHECK(text_of(*store, "a/b/c") == "one two three");
    CHECK(text_of(*open(), "a/b/c") == "one two three");
  }
  SECTION("a draft is its value when it is put, and nothing before") {
    const auto draft = store->begin_draft();
    const std::vector<ByteView> first = {as_byte_view("one "), {}, as_byte_view("two ")};
    draft->append(first);
    draft->append({});
    const ByteView last = as_byte_view("three");
    draft->append(std::span(&last, 1));
    CHECK(keys_of(*open()).empty());
    CHECK(draft->put_if_absent("a/b/c"));
    CHECK(text_of(*open(), "a/b/c") == "one two three");
    CHECK(keys_of(*store) == std::vector<std::string>{"a/b/c"});
  }
  SECTION("a draft does not take the place of a value, and one that is not put leaves nothing") {
    CHECK(put(*store, "key", "first"));
    const ByteView text = as_byte_view("second");
    const auto late = store->begin_draft();
    late->append(std::span(&text, 1));
    CHECK_FALSE(late->put_if_absent("key"));
    CHECK(text_of(*store, "key") == "first");
    CHECK(error_of([&] { store->begin_draft()->put_if_absent("../key"); }).code() == ErrorCode::kInvalid);
    CHECK(keys_of(*store) == std::vector<std::string>{"key"});
  }
  SECTION("a second put changes nothing and says so") {
    CHECK(put(*store, "key", "first"));
    CHECK_FALSE(put(*store, "key", "second"));
    CHECK_FALSE(put(*open(), "key", "second"));
    CHECK(text_of(*store, "key") == "first");
  }
  SECTION("an empty value is a value") {
    CHECK(store->put_if_absent("empty", std::span<const ByteView>()));
    CHECK_FALSE(put(*store, "empty", "x"));
    CHECK(store->get("empty", 0).empty());
    CHECK(store->stat("empty")->bytes == 0);
    Bytes none;
    CHECK_NOTHROW(store->get_range("empty", 0, none));
  }
  SECTION("thousands of parts make one value") {
    const Bytes whole = random_bytes(1, 5000);
    std::vector<ByteView> parts;
    for (std::size_t i = 0; i < whole.size(); ++i) parts.push_back(ByteView(whole).subspan(i, 1));
    CHECK(store->put_if_absent("parts", parts));
    CHECK(store->get("parts", kAnySize) == whole);
  }
  SECTION("a big value comes back whole") {
    const Bytes big = random_bytes(2, 48 * kMiB + 1);
    CHECK(store->put_if_absent("packs/00/big.pack", big));
    CHECK(store->stat("packs/00/big.pack")->bytes == big.size());
    CHECK(sha256(store->get("packs/00/big.pack", big.size())) == sha256(big));
  }
  SECTION("a value over the limit of the reader is refused, one at the limit is not") {
    put(*store, "key", "12345");
    CHECK(store->get("key", 5).size() == 5);
    const Error error = error_of([&] { (void)store->get("key", 4); });
    CHECK(error.code() == ErrorCode::kLimit);
    CHECK_THAT(error.what(), Catch::Contains("key"));
  }
  SECTION("a removed value is gone for every handle, and its key is free again") {
    const auto other = open();
    put(*store, "a/key", "first");
    Bytes one(1);
    store->get_range("a/key", 0, one);
    other->get_range("a/key", 0, one);
    store->remove("a/key");
    for (Store* handle : {store.get(), other.get()}) {
      CHECK_FALSE(handle->stat("a/key"));
      CHECK(error_of([&] { handle->get_range("a/key", 0, one); }).code() == ErrorCode::kNotFound);
    }
    CHECK(put(*store, "a/key", "second"));
    other->get_range("a/key", 0, one);
    CHECK(as_text(one) == "s");
  }
  SECTION("what is not there is not found, and removing it is no error") {
    put(*store, "folder/key", "x");
    for (const char* key : {"nothing", "folder", "folder/nothing", "nothing/at/all", "folder/key/below"}) {
      CHECK_FALSE(store->stat(key));
      CHECK_NOTHROW(store->remove(key));
      Bytes one(1);
      const Error error = error_of([&] { (void)store->get(key, kAnySize); });
      CHECK(error.code() == ErrorCode::kNotFound);
      CHECK_THAT(error.what(), Catch::Contains(key));
      CHECK(error_of([&] { store->get_range(key, 0, one); }).code() == ErrorCode::kNotFound);
    }
    CHECK(text_of(*store, "folder/key") == "x");
  }
}

void check_ranges(const OpenStore& open) {
  const auto store = open();
  const Bytes whole = random_bytes(3, 100'000);
  store->put_if_absent("a/b", whole);

  SECTION("any range inside the value can be read") {
    Random random(4);
    for (int i = 0; i < 300; ++i) {
      const std::size_t offset = random.below(whole.size() + 1);
      Bytes range(random.below(whole.size() - offset + 1));
      store->get_range("a/b", offset, range);
      CHECK(std::ranges::equal(range, ByteView(whole).subspan(offset, range.size())));
    }
  }
  SECTION("a range that goes past the end is damage, and names the key") {
    struct Case {
      std::uint64_t offset;
      std::size_t length;
    };
    for (const auto& [offset, length] :
         {Case{0, 100'001}, {99'999, 2}, {100'000, 1}, {200'000, 1}, {1ULL << 62U, 9}}) {
      Bytes range(length);
      const Error error = error_of([&] { store->get_range("a/b", offset, range); });
      CHECK(error.code() == ErrorCode::kDamaged);
      CHECK_THAT(error.what(), Catch::Contains("a/b"));
    }
  }
  SECTION("ranges of many values can be read by many threads at once") {
    constexpr int kValues = 50;
    for (int i = 0; i < kValues; ++i) put(*store, fmt::format("many/{}", i), fmt::format("value {:>10}", i));
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        Random random(t);
        for (int i = 0; i < 1000; ++i) {
          const auto value = random.below(kValues);
          Bytes range(10);
          store->get_range(fmt::format("many/{}", value), 6, range);
          if (as_text(range) != fmt::format("{:>10}", value)) ++wrong;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
  SECTION("a replaced value is read anew, by every handle") {
    const auto other = open();
    put(*store, "key", "old");
    Bytes range(3);
    other->get_range("key", 0, range);
    CHECK(as_text(range) == "old");
    CHECK(store->replace_if_version("key", as_byte_view("new"), store->stat("key")->version));
    other->get_range("key", 0, range);
    CHECK(as_text(range) == "new");
    store->get_range("key", 0, range);
    CHECK(as_text(range) == "new");
  }
}

void check_versions(const OpenStore& open) {
  const auto store = open();

  SECTION("a replacement needs the version that is there") {
    CHECK(put(*store, "refs/web/v1", "first"));
    const StoreVersion first = store->stat("refs/web/v1")->version;
    CHECK(store->replace_if_version("refs/web/v1", as_byte_view("second"), first));
    CHECK(text_of(*store, "refs/web/v1") == "second");
    CHECK_FALSE(store->replace_if_version("refs/web/v1", as_byte_view("third"), first));
    CHECK(text_of(*store, "refs/web/v1") == "second");
  }
  SECTION("no version expects no value") {
    CHECK(store->replace_if_version("key", as_byte_view("first"), std::nullopt));
    CHECK_FALSE(store->replace_if_version("key", as_byte_view("second"), std::nullopt));
    CHECK(text_of(*store, "key") == "first");
  }
  SECTION("a removed value cannot be replaced") {
    put(*store, "key", "x");
    const StoreVersion version = store->stat("key")->version;
    store->remove("key");
    CHECK_FALSE(store->replace_if_version("key", as_byte_view("y"), version));
    CHECK_FALSE(store->stat("key"));
  }
  SECTION("reading a value and asking for it name the same version, for every handle") {
    put(*store, "key", "x");
    StoreStat read;
    (void)store->get("key", kAnySize, &read);
    CHECK(read.version == store->stat("key")->version);
    CHECK(read.version == open()->stat("key")->version);
    CHECK(read.bytes == 1);
  }
  SECTION("every put makes a version of its own, the same bytes or not") {
    std::vector<std::string> tokens;
    std::optional<StoreVersion> version;
    for (int i = 0; i < 60; ++i) {
      REQUIRE(store->replace_if_version("key", as_byte_view(i % 3 == 0 ? "a" : "b"), version));
      version = store->stat("key")->version;
      tokens.push_back(version->token);
    }
    for (int i = 0; i < 30; ++i) {
      store->remove("key");
      REQUIRE(put(*store, "key", "a"));
      tokens.push_back(store->stat("key")->version.token);
    }
    std::ranges::sort(tokens);
    CHECK(std::ranges::adjacent_find(tokens) == tokens.end());
  }
  SECTION("times are by the store's clock") {
    const std::int64_t before = store->now();
    put(*store, "key", "x");
    const std::int64_t modified = store->stat("key")->modified_seconds;
    CHECK(modified >= before - 1);
    CHECK(modified <= store->now() + 1);
  }
}

void check_lists(const OpenStore& open) {
  const auto store = open();

  SECTION("an empty store lists nothing, nor does a folder that is not there") {
    CHECK(keys_of(*store).empty());
    CHECK(keys_of(*store, "nothing/").empty());
  }
  SECTION("keys are listed in byte order, with their sizes") {
    // '-' and '.' sort before '/', digits and letters behind it: folders are not simply sorted by their
    // names.
    std::vector<std::string> keys = {"a/b",  "a-b/c", "a.b",     "a0",    "a/b-c",   "a/b.c/d",
                                     "a+/x", "Z",     "a/c/d/e", "_/@:+", "packs/0", "a/c-d"};
    for (const auto& key : keys) put(*store, key, key);
    std::ranges::sort(keys);
    std::vector<std::string> listed;
    store->list("", [&](const std::string& key, std::uint64_t bytes) {
      CHECK(bytes == key.size());
      listed.push_back(key);
    });
    CHECK(listed == keys);
    CHECK(keys_of(*store, "a/") == std::vector<std::string>{"a/b", "a/b-c", "a/b.c/d", "a/c-d", "a/c/d/e"});
    CHECK(keys_of(*store, "a/c/") == std::vector<std::string>{"a/c/d/e"});
  }
  SECTION("what the store keeps for itself is not listed") {
    put(*store, "refs/a", "1");
    store->replace_if_version("refs/a", as_byte_view("2"), store->stat("refs/a")->version);
    store->remove("nothing");
    CHECK(keys_of(*store) == std::vector<std::string>{"refs/a"});
  }
  SECTION("values may be removed while they are listed") {
    for (int i = 0; i < 100; ++i) put(*store, fmt::format("a/{}/{}", i % 7, i), "x");
    store->list("a/", [&](const std::string& key, std::uint64_t) { store->remove(key); });
    CHECK(keys_of(*store).empty());
  }
  SECTION("a callback's exception ends the list and comes through") {
    for (int i = 0; i < 10; ++i) put(*store, fmt::format("a/{}", i), "x");
    int seen = 0;
    CHECK_THROWS_AS(store->list("",
                                [&](const std::string&, std::uint64_t) {
                                  if (++seen == 3) throw std::runtime_error("enough");
                                }),
                    std::runtime_error);
    CHECK(seen == 3);
  }
}

void check_keys(const OpenStore& open) {
  const auto store = open();

  SECTION("a key that is none is refused by every method, and nothing is written") {
    const std::string long_part(256, 'a');
    std::string deep = "a";
    for (int i = 0; i < 16; ++i) deep += "/a";
    const std::vector<std::string> bad = {"",
                                          "/",
                                          "/a",
                                          "a/",
                                          "a//b",
                                          ".",
                                          "..",
                                          "a/..",
                                          "../a",
                                          "a/./b",
                                          "a/../../etc",
                                          "a b",
                                          "a\\b",
                                          "a\nb",
                                          "a*",
                                          "ä",
                                          "a/b\t",
                                          "tmp",
                                          "tmp/a",
                                          long_part,
                                          deep,
                                          std::string("a\0b", 3),
                                          std::string(1025, 'a')};
    for (const std::string& key : bad) {
      Bytes one(1);
      const auto code_of = [&](auto&& call) { return error_of(call).code(); };
      CHECK(code_of([&] { put(*store, key, "x"); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { store->replace_if_version(key, one, std::nullopt); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { store->get_range(key, 0, one); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { (void)store->get(key, 1); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { (void)store->stat(key); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { store->remove(key); }) == ErrorCode::kInvalid);
      CHECK(code_of([&] { (void)store->local_path(key); }) == ErrorCode::kInvalid);
    }
    CHECK(keys_of(*store).empty());
  }
  SECTION("only folders can be listed") {
    for (const char* prefix : {"a", "/", "a//", "../", "a/../", "tmp/", " /"}) {
      CHECK(error_of([&] { (void)keys_of(*store, prefix); }).code() == ErrorCode::kInvalid);
    }
  }
  SECTION("every character that is allowed works, and so do the longest names") {
    const std::string part(255, 'x');
    for (const std::string& key :
         {std::string("ABCXYZabcxyz0189._+@:-"), std::string(".hidden/..a/a..b/...x"),
          std::string("refs/web/2026-11-24"), part + "/" + part + "/" + part}) {
      CHECK(put(*store, key, key));
      CHECK(text_of(*store, key) == key);
    }
    CHECK(keys_of(*store).size() == 4);
  }
  SECTION("errors name the store") {
    CHECK_THAT(error_of([&] { (void)store->get("nothing", 1); }).what(), Catch::Contains(store->location()));
    CHECK_THAT(error_of([&] { (void)store->get("a b", 1); }).what(), Catch::Contains(store->location()));
  }
}

void check_races(const OpenStore& open) {
  SECTION("of threads that put the same key, exactly one stores its value") {
    const auto store = open();
    constexpr std::size_t kThreads = 8;
    for (int round = 0; round < 40; ++round) {
      const std::string key = fmt::format("round/{}", round);
      std::atomic<int> winner = -1;
      std::atomic<int> winners = 0;
      std::barrier start(kThreads);
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          start.arrive_and_wait();
          if (store->put_if_absent(key, random_bytes(t, 10'000 + t))) {
            winner = static_cast<int>(t);
            ++winners;
          }
        });
      }
      for (auto& thread : threads) thread.join();
      REQUIRE(winners == 1);
      const auto number = static_cast<std::size_t>(winner.load());
      CHECK(store->get(key, kAnySize) == random_bytes(number, 10'000 + number));
    }
  }
  SECTION("of processes that put the same key, exactly one stores its value") {
    for (int round = 0; round < 20; ++round) {
      const std::string key = fmt::format("round/{}", round);
      CHECK(count_true_in_processes(4, [&](int i) {
              return open()->put_if_absent(key, Bytes(20'000, static_cast<std::byte>(i)));
            }) == 1);
      const Bytes value = open()->get(key, kAnySize);
      CHECK(value.size() == 20'000);
      CHECK(std::ranges::all_of(value, [&](std::byte byte) { return byte == value[0]; }));
    }
  }
  SECTION("no increment is lost that threads and processes make by replacing") {
    constexpr int kProcesses = 3;
    constexpr int kIncrements = 10;
    put(*open(), "counter", "0");
    const auto increment = [&](Store& store) {
      while (true) {
        StoreStat stat;
        const Bytes value = store.get("counter", 100, &stat);
        const std::string next = std::to_string(std::stoi(std::string(as_text(value))) + 1);
        if (store.replace_if_version("counter", as_byte_view(next), stat.version)) return;
      }
    };
    CHECK(count_true_in_processes(kProcesses, [&](int) {
            const auto store = open();
            std::thread other([&] {
              for (int i = 0; i < kIncrements; ++i) increment(*store);
            });
            for (int i = 0; i < kIncrements; ++i) increment(*store);
            other.join();
            return true;
          }) == kProcesses);
    CHECK(text_of(*open(), "counter") == std::to_string(2 * kProcesses * kIncrements));
  }
  SECTION("readers never see less than a whole value") {
    const auto store = open();
    std::atomic<bool> done = false;
    std::atomic<int> wrong = 0;
    put(*store, "key", std::string(1000, 'a'));
    std::thread reader([&] {
      while (!done) {
        const std::string value = text_of(*store, "key");
        if (value.size() < 1000 || value != std::string(value.size(), value[0])) ++wrong;
      }
    });
    for (std::size_t i = 0; i < 60; ++i) {
      const std::string value(1000 + i * 500, static_cast<char>('a' + i % 26));
      CHECK(store->replace_if_version("key", as_byte_view(value), store->stat("key")->version));
    }
    done = true;
    reader.join();
    CHECK(wrong == 0);
  }
}

void check_last_writer_wins(const OpenStore& open) {
  SECTION("of threads that put the same key, the one whose value stays is told so") {
    const auto store = open();
    constexpr std::size_t kThreads = 8;
    for (int round = 0; round < 20; ++round) {
      const std::string key = fmt::format("round/{}", round);
      std::array<std::atomic<bool>, kThreads> stored{};
      std::barrier start(kThreads);
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          start.arrive_and_wait();
          stored.at(t) = store->put_if_absent(key, random_bytes(t, 10'000 + t));
        });
      }
      for (auto& thread : threads) thread.join();
      const std::size_t winner = store->get(key, kAnySize).size() - 10'000;
      REQUIRE(winner < kThreads);
      CHECK(stored.at(winner));
      CHECK(store->get(key, kAnySize) == random_bytes(winner, 10'000 + winner));
    }
  }
}

}  // namespace

void check_store_contract(const OpenStore& open, Races races) {
  // Each leaf section runs on a store of its own.
  SECTION("values") { check_values(open); }
  SECTION("ranges") { check_ranges(open); }
  SECTION("versions") { check_versions(open); }
  SECTION("lists") { check_lists(open); }
  SECTION("keys") { check_keys(open); }
  SECTION("races") {
    if (races == Races::kOneWins) {
      check_races(open);
    } else {
      check_last_writer_wins(open);
    }
  }
}

}  // namespace vmpack::test
