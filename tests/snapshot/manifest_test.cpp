// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/manifest.hpp"

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"

using namespace vmpack;
using vmpack::test::error_of;

namespace {

Manifest sample() {
  Manifest manifest;
  manifest.image_bytes = 1 << 20;
  manifest.data_bytes = 4096;
  manifest.source_format = "qcow2";
  manifest.table = "gpt";
  manifest.volumes.push_back({1 << 16, 1 << 18, 1, "ext4", "root\xff", "u-u", true, 17, 512});
  manifest.classes[3] = {5, 4096};
  manifest.map = MapDigest(sha256(Bytes(1)));
  manifest.files = FileTableDigest(sha256(Bytes(2)));
  manifest.labels = {{"role", "web"}};
  return manifest;
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  const auto at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

}  // namespace

TEST_CASE("a manifest comes back from its text, and the same facts give the same text") {
  const Manifest manifest = sample();
  const std::string text = to_json(manifest);
  CHECK(to_json(manifest_from_json(text, "x")) == text);
  CHECK(text == to_json(sample()));
}

TEST_CASE("a logical volume's name is kept, and other volumes have none") {
  Manifest manifest = sample();
  CHECK(to_json(manifest).find("\"name\"") == std::string::npos);
  manifest.volumes.push_back(manifest.volumes.front());
  manifest.volumes.back().name = "group/root";
  const Manifest read = manifest_from_json(to_json(manifest), "x");
  CHECK(read.volumes[0].name.empty());
  CHECK(read.volumes[1].name == "group/root");
  CHECK(to_json(read) == to_json(manifest));
}

TEST_CASE("a manifest of a later version or with an unknown required feature is refused by name") {
  const std::string text = to_json(sample());
  const Error version =
      error_of([&] { (void)manifest_from_json(replaced(text, "\"version\": 1", "\"version\": 7"), "x"); });
  CHECK(version.code() == ErrorCode::kUnsupported);
  CHECK_THAT(version.what(), Catch::Contains("version 7"));
  const Error feature = error_of([&] {
    (void)manifest_from_json(
        replaced(text, "\"required_features\": []", "\"required_features\": [\"time-travel\"]"), "x");
  });
  CHECK(feature.code() == ErrorCode::kUnsupported);
  CHECK_THAT(feature.what(), Catch::Contains("time-travel"));
}

TEST_CASE("text that is no manifest is damage, not a crash") {
  const std::string text = to_json(sample());
  for (std::size_t size = 0; size + 2 < text.size(); size += 3) {
    CHECK(error_of([&] { (void)manifest_from_json(std::string_view(text).substr(0, size), "x"); }).code() ==
          ErrorCode::kDamaged);
  }
  CHECK(error_of([&] { (void)manifest_from_json("[]", "x"); }).code() == ErrorCode::kDamaged);
}
