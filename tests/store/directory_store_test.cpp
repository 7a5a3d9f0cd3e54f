// SPDX-License-Identifier: Apache-2.0
// The directory store: the contract of all stores, and what is its own.
#include <catch2/catch.hpp>

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/small_file_system.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

constexpr std::uint64_t kAnySize = kMiB;

bool put(Store& store, std::string_view key, std::string_view text) {
  return store.put_if_absent(key, as_byte_view(text));
}

}  // namespace

TEST_CASE("the directory store keeps the contract of all stores") {
  const TempDir folder;
  check_store_contract([&] { return open_directory_store(folder.path()); });
}

// Here files appear within one tick of the clock that stamps them, and a page of memory is given out again at
// once.
TEST_CASE("the directory store keeps the contract in memory too") {
  if (!SmallFileSystem::possible()) {
    WARN("cannot mount file systems here");
    return;
  }
  const SmallFileSystem file_system(SmallFileSystem::Kind::kTmpfs, 256 * kMiB);
  check_store_contract([&] { return open_directory_store(file_system.path()); });
}

TEST_CASE("a value is the file that its key names") {
  const TempDir folder;
  const auto store = open_directory_store(folder.path());
  put(*store, "packs/3f/abc.pack", "text");
  CHECK(as_text(read_file(folder / "packs/3f/abc.pack")) == "text");
  CHECK(as_text(read_file(store->local_path("packs/3f/abc.pack"))) == "text");
  CHECK(store->location() == folder.path());
}

TEST_CASE("a store opened by a relative path survives a change of folder") {
  const TempDir folder;
  const std::string before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  std::filesystem::create_directory("repo");
  const auto store = open_directory_store("repo");
  std::filesystem::current_path("/");
  put(*store, "key", "text");
  CHECK(as_text(store->get("key", kAnySize)) == "text");
  CHECK(as_text(read_file(store->local_path("key"))) == "text");
  std::filesystem::current_path(before);
}

TEST_CASE("reading leaves no trace, and needs no permission to write") {
  const TempDir folder;
  write_file(folder / "key", "text");
  const auto store = open_directory_store(folder.path());
  Bytes range(2);
  store->get_range("key", 1, range);
  (void)store->get("key", kAnySize);
  (void)store->stat("key");
  (void)store->now();
  (void)store->local_path("key");
  store->list("", [](const std::string&, std::uint64_t) {});
  store->remove("nothing");
  CHECK_FALSE(put(*store, "key", "another"));
  CHECK_FALSE(store->replace_if_version("key", as_byte_view("x"), StoreVersion{"another"}));
  CHECK(files_below(folder.path()) == std::vector<std::string>{"key"});
  CHECK_FALSE(std::filesystem::exists(folder / "tmp"));
}

TEST_CASE("a store on a read-only file system can be read, and says what stops a write") {
  if (!SmallFileSystem::possible()) {
    WARN("cannot mount file systems here");
    return;
  }
  SmallFileSystem file_system(SmallFileSystem::Kind::kTmpfs, kMiB);
  put(*open_directory_store(file_system.path()), "a/key", "text");
  file_system.make_read_only();
  const auto store = open_directory_store(file_system.path());
  CHECK(as_text(store->get("a/key", kAnySize)) == "text");
  CHECK(store->stat("a/key")->bytes == 4);
  const Error error = error_of([&] { put(*store, "a/other", "x"); });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK_THAT(error.what(), Catch::Contains(file_system.path() + "/a/other"));
  CHECK_FALSE(error.hint().empty());
}

TEST_CASE("the first write removes what killed writers left, and nothing that a living one still writes") {
  const TempDir folder;
  const auto store = open_directory_store(folder.path());
  std::filesystem::create_directory(folder / "tmp");
  write_file(folder / "tmp/put-1-dead", "left behind");
  write_file(folder / "tmp/put-2-alive", "being written");
  write_file(folder / "tmp/notes", "not ours");
  const auto alive = FileDescriptor::open(folder / "tmp/put-2-alive", O_RDWR);
  REQUIRE(::flock(alive.get(), LOCK_EX) == 0);
  put(*store, "key", "text");
  CHECK(files_below(folder / "tmp") == std::vector<std::string>{"notes", "put-2-alive"});
}

TEST_CASE("nothing is left in tmp after puts, replacements and drafts, won or lost") {
  const TempDir folder;
  const auto store = open_directory_store(folder.path());
  put(*store, "key", "1");
  put(*store, "key", "2");
  store->replace_if_version("key", as_byte_view("3"), store->stat("key")->version);
  store->replace_if_version("key", as_byte_view("4"), StoreVersion{"wrong"});
  store->begin_draft()->put_if_absent("key");
  store->begin_draft()->put_if_absent("empty");
  store->begin_draft();
  CHECK(files_below(folder / "tmp") == std::vector<std::string>{"lock"});
}

TEST_CASE("symbolic links are followed for the root alone") {
  const TempDir folder;
  std::filesystem::create_directories(folder / "real/packs");
  std::filesystem::create_directory(folder / "outside");
  write_file(folder / "outside/secret", "secret");
  std::filesystem::create_symlink(folder / "real", folder / "repo");
  std::filesystem::create_symlink(folder / "outside/secret", folder / "real/packs/file");
  std::filesystem::create_symlink(folder / "outside", folder / "real/linked");
  std::filesystem::create_symlink("/no/where", folder / "real/dangling");
  const auto store = open_directory_store(folder / "repo");
  Bytes one(1);
  for (const char* key : {"packs/file", "linked/secret", "dangling"}) {
    CHECK(error_of([&] { (void)store->get(key, kAnySize); }).code() == ErrorCode::kRefused);
    CHECK(error_of([&] { store->get_range(key, 0, one); }).code() == ErrorCode::kRefused);
    CHECK(error_of([&] { (void)store->stat(key); }).code() == ErrorCode::kRefused);
  }
  const Error error = error_of([&] { put(*store, "linked/new", "x"); });
  CHECK(error.code() == ErrorCode::kRefused);
  CHECK_THAT(error.what(), Catch::Contains("linked is a symbolic link"));
  CHECK_FALSE(std::filesystem::exists(folder / "outside/new"));
  int listed = 0;
  store->list("", [&](const std::string&, std::uint64_t) { ++listed; });
  CHECK(listed == 0);
  CHECK(put(*store, "packs/new", "x"));
}

TEST_CASE("a FIFO or a device in the place of a value is refused without waiting") {
  const TempDir folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const auto store = open_directory_store(folder.path());
  CHECK(error_of([&] { (void)store->get("fifo", kAnySize); }).code() == ErrorCode::kRefused);
}

TEST_CASE("files whose names are no keys are passed over") {
  const TempDir folder;
  write_file(folder / "a file with spaces", "x");
  write_file(folder / "key", "x");
  std::filesystem::create_directory(folder / "lost+found");
  write_file(folder / "lost+found/#12", "x");
  std::vector<std::string> keys;
  open_directory_store(folder.path())->list("", [&](const std::string& key, std::uint64_t) {
    keys.push_back(key);
  });
  CHECK(keys == std::vector<std::string>{"key"});
}

TEST_CASE("a value cannot be put where a folder is, nor below another value") {
  const TempDir folder;
  const auto store = open_directory_store(folder.path());
  put(*store, "a/b", "x");
  CHECK(error_of([&] { put(*store, "a", "y"); }).code() == ErrorCode::kInvalid);
  CHECK_THROWS_AS(put(*store, "a/b/c", "y"), Error);
  CHECK(files_below(folder / "tmp").empty());
}

TEST_CASE("more values are read than files may be open") {
  const TempDir folder;
  const auto store = open_directory_store(folder.path());
  Bytes one(1);
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  for (int i = 0; i < 300; ++i) write_file(folder / std::to_string(i), "x");
  const auto before = open_files();
  for (int i = 0; i < 300; ++i) store->get_range(std::to_string(i), 0, one);
  CHECK(open_files() - before <= 128);
  // Removed files give their space back as soon as another one is opened.
  for (int i = 0; i < 300; ++i) std::filesystem::remove(folder / std::to_string(i));
  put(*store, "another", "x");
  store->get_range("another", 0, one);
  CHECK(open_files() - before <= 2);
}
