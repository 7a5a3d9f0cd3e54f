// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/key.hpp"

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"

using namespace vmpack;
using test::error_of;

TEST_CASE("a key at a limit is one, a key over it is not") {
  const std::string part(kKeyPartBytesMax, 'a');
  CHECK(is_key_part(part));
  CHECK_FALSE(is_key_part(part + "a"));
  std::string deep = "a";
  for (std::size_t i = 1; i < kKeyPartsMax; ++i) deep += "/a";
  CHECK_NOTHROW(check_key(deep, "store"));
  CHECK(error_of([&] { check_key(deep + "/a", "store"); }).code() == ErrorCode::kInvalid);
  const std::string longest = part + "/" + part + "/" + part + "/" + part;  // 1023 bytes
  CHECK_NOTHROW(check_key(longest, "store"));
  CHECK(error_of([&] { check_key(longest + "/a", "store"); }).code() == ErrorCode::kInvalid);
}

TEST_CASE("a bad key is shown without what drives a terminal") {
  const Error error = error_of([] { check_key("a\x1b[2Jb", "/repo"); });
  CHECK_THAT(error.what(), Catch::Contains("'a?[2Jb'") && Catch::Contains("/repo"));
}
