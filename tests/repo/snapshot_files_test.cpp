// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/snapshot_files.hpp"

#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using vmpack::test::error_of;

TEST_CASE("a snapshot's file table is the manifest's, or else the one a note names") {
  const test::TempDir folder;
  const std::shared_ptr<Store> store = open_directory_store(folder.path());
  Repository::init(*store, {});
  const auto repository = Repository::open(store);
  const SnapshotDigest snapshot(sha256(as_byte_view("a snapshot")));
  const FileTableDigest noted(sha256(as_byte_view("a table of later")));
  Manifest manifest;
  CHECK(!file_table_of(*repository, snapshot, manifest));

  repository->put_note(snapshot, kFileTableNote, fmt::format("{{\"table\": \"{}\"}}", noted.hex()));
  CHECK(file_table_of(*repository, snapshot, manifest) == noted);

  manifest.files = FileTableDigest(sha256(as_byte_view("a table of its own")));
  CHECK(file_table_of(*repository, snapshot, manifest) == manifest.files);
}

TEST_CASE("a note that names no file table is damage") {
  const test::TempDir folder;
  const std::shared_ptr<Store> store = open_directory_store(folder.path());
  Repository::init(*store, {});
  const auto repository = Repository::open(store);
  const SnapshotDigest snapshot;
  for (const std::string_view text : {"{}", "{\"table\": \"12\"}", "{\"table\": 7}"}) {
    repository->put_note(snapshot, kFileTableNote, text);
    CHECK(error_of([&] { (void)file_table_of(*repository, snapshot, {}); }).code() == ErrorCode::kDamaged);
  }
}
