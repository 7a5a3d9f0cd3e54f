// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/sealed_json.hpp"

#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using test::error_of;

namespace {

const std::string kObject = "{\n  \"format\": 1,\n  \"name\": \"web:v1\"\n}";

}  // namespace

TEST_CASE("sealed JSON is still JSON, with a first member more") {
  const std::string text = seal_json(kObject);
  const auto json = nlohmann::ordered_json::parse(text);
  CHECK(json.begin().key() == "xxh3");
  CHECK(json["format"] == 1);
  CHECK(json["name"] == "web:v1");
  CHECK(check_sealed_json(text, "refs/web/v1") == text);
}

TEST_CASE("an empty object can be sealed") {
  for (const char* object : {"{}", "{ }", "{\n}"}) {
    const std::string text = seal_json(object);
    CHECK(nlohmann::json::parse(text).size() == 1);
    CHECK_NOTHROW(check_sealed_json(text, "x"));
  }
}

TEST_CASE("each flipped bit of a sealed file is detected") {
  std::string text = seal_json(kObject);
  for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    const auto error = error_of([&] { check_sealed_json(text, "refs/web/v1"); });
    REQUIRE(error.code() == ErrorCode::kDamaged);
    CHECK_THAT(error.what(), Catch::Contains("refs/web/v1"));
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  }
}

TEST_CASE("a truncated or lengthened sealed file is detected") {
  const std::string text = seal_json(kObject);
  for (std::size_t size = 0; size < text.size(); ++size) {
    CHECK(error_of([&] { check_sealed_json(std::string_view(text).substr(0, size), "x"); }).code() ==
          ErrorCode::kDamaged);
  }
  CHECK(error_of([&] { check_sealed_json(text + "\n", "x"); }).code() == ErrorCode::kDamaged);
}

TEST_CASE("the same object is sealed the same way") { CHECK(seal_json(kObject) == seal_json(kObject)); }
