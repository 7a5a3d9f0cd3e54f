// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/recorded_base.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

struct Repo {
  test::TempDir folder;
  std::shared_ptr<Store> store = open_directory_store(folder.path());
  std::shared_ptr<Repository> repository;
  SnapshotDigest one{sha256(as_byte_view("one"))};
  SnapshotDigest two{sha256(as_byte_view("two"))};

  Repo() {
    Repository::init(*store, {});
    repository = Repository::open(store);
    repository->set_reference({"web", "v1"}, one, false);
  }
  RecordedBase check(const SnapshotDigest& base, const std::string& backing, bool moved = false) {
    return check_recorded_base(*repository, base, backing, moved);
  }
};

}  // namespace

TEST_CASE("the snapshot is found in every form in which QEMU writes an address") {
  for (const std::string name :
       {"nbd://host/web@3f9c", "nbd://host:10810/web@3f9c", "nbds://host/web@3f9c?tls=x",
        "nbd+unix:///web@3f9c?socket=/run/vmserve.sock", "nbd+unix:///web%403f9c?socket=/s",
        "nbd:host:10809:exportname=web@3f9c", "nbd:unix:/run/s:exportname=web@3f9c",
        R"(json:{"driver":"nbd","export":"web@3f9c","server":{"type":"unix","path":"/s"}})",
        R"(json:{"driver":"raw","file":{"driver":"nbd","export":"web@3f9c"}})",
        R"(json:{"file.driver":"nbd","file.export":"web@3f9c"})",
        R"(json:{"driver":"raw","file":{"driver":"nbd","filename":"nbd://h/web@3f9c"}})", "/mnt/web@3f9c",
        "/mnt/web@3f9c.raw", "web@3f9c"}) {
    INFO(name);
    CHECK(reference_in_backing_name(name) == "web@3f9c");
  }
  CHECK(reference_in_backing_name("nbd://host/web:v1") == "web:v1");
  for (const std::string name :
       {"base.raw", "/images/base.qcow2", "json:{", "json:[]", "json:{\"a\":1}", ""}) {
    INFO(name);
    CHECK(reference_in_backing_name(name) == std::nullopt);
  }
}

TEST_CASE("an overlay on another snapshot is refused") {
  Repo repo;
  const std::string digest = repo.one.hex();
  CHECK(repo.check(repo.one, fmt::format("nbd://h/web@{}", digest.substr(0, 12))) == RecordedBase::kMatches);
  CHECK(repo.check(repo.one, fmt::format("nbd://h/other@{}", digest)) == RecordedBase::kMatches);
  const Error error = error_of([&] { repo.check(repo.two, fmt::format("nbd://h/web@{}", digest)); });
  CHECK(error.code() == ErrorCode::kRefused);
  CHECK(std::string(error.what()).find(digest) != std::string::npos);
  // A digest never moves.
  CHECK(error_of([&] { repo.check(repo.two, fmt::format("nbd://h/web@{}", digest), true); }).code() ==
        ErrorCode::kRefused);
}

TEST_CASE("a tag must mean the same snapshot, unless the user says that it moved") {
  Repo repo;
  CHECK(repo.check(repo.one, "nbd://h/web:v1") == RecordedBase::kMatches);
  CHECK(error_of([&] { repo.check(repo.two, "nbd://h/web:v1"); }).code() == ErrorCode::kRefused);
  CHECK(error_of([&] { repo.check(repo.one, "nbd://h/web:gone"); }).code() == ErrorCode::kRefused);
  CHECK(repo.check(repo.two, "nbd://h/web:v1", true) == RecordedBase::kUnknown);
  CHECK(repo.check(repo.one, "nbd://h/disk0") == RecordedBase::kUnknown);
  CHECK(repo.check(repo.one, "base.raw") == RecordedBase::kUnknown);
}
