// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <filesystem>

#include "libvmpack/store/store.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

TEST_CASE("a path and a file URL open the same folder") {
  const TempDir folder;
  const std::string path = folder / "a b";
  std::filesystem::create_directory(path);
  const std::string escaped = folder.path() + "/a%20b";
  CHECK(open_store(path)->put_if_absent("key", as_byte_view("x")));
  for (const std::string& location :
       {path, path + "/", "file://" + path, "file://" + escaped, "file://localhost" + escaped}) {
    CHECK(open_store(location)->stat("key").has_value());
    CHECK(open_store(location)->location() == path);
  }
}

TEST_CASE("a folder that is not there is not found, or made with its parents") {
  const TempDir folder;
  const std::string path = folder / "a/b/c";
  const Error error = error_of([&] { (void)open_store(path); });
  CHECK(error.code() == ErrorCode::kNotFound);
  CHECK_THAT(error.what(), Catch::Contains(path));
  CHECK_FALSE(std::filesystem::exists(folder / "a"));
  CHECK(open_store(path, true)->put_if_absent("key", as_byte_view("x")));
  CHECK(open_store(path, true)->stat("key").has_value());
}

TEST_CASE("a file is no store") {
  const TempDir folder;
  write_file(folder / "disk.img", "x");
  for (const bool create : {false, true}) {
    CHECK(error_of([&] { (void)open_store(folder / "disk.img", create); }).code() == ErrorCode::kInvalid);
    CHECK_THROWS_AS(open_store(folder / "disk.img/below", create), Error);
  }
}

TEST_CASE("a location that names no store is refused") {
  CHECK(error_of([] { (void)open_store("rados://pool"); }).code() == ErrorCode::kInvalid);
  CHECK(error_of([] { (void)open_store("s3://"); }).code() == ErrorCode::kInvalid);
  CHECK(error_of([] { (void)open_store("http://host/path"); }).code() == ErrorCode::kInvalid);
  CHECK(error_of([] { (void)open_store(""); }).code() == ErrorCode::kInvalid);
  for (const char* url :
       {"file://", "file://relative/path", "file:///a%2", "file:///a%zz", "file:///a%00b", "file:///a%+1"}) {
    CHECK(error_of([&] { (void)open_store(url); }).code() == ErrorCode::kInvalid);
  }
}
