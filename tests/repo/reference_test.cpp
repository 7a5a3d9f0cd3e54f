// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/reference.hpp"

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"

using namespace vmpack;

TEST_CASE("references are names with tags or digests") {
  CHECK(parse_reference_name("web:v1") == ReferenceName{"web", "v1"});
  CHECK(parse_reference_name("web") == ReferenceName{"web", "latest"});
  CHECK(std::get<DigestReference>(parse_reference("web@3f9c")).digest_prefix == "3f9c");
}

TEST_CASE("what is no reference is refused with what is allowed") {
  for (const char* text : {"", ":", "a:", ":b", "a:b:c", "../x:y", "a/b:c", "a:-x", ".a:b", "a b:c", "a\n:b",
                           "@3f9c", "a@3f9", "a@3F9C", "a@xyzw", "a@"}) {
    INFO(text);
    const Error error = test::error_of([&] { (void)parse_reference(text); });
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK_FALSE(error.hint().empty());
  }
  CHECK(test::error_of([] { (void)parse_reference_name(std::string(129, 'a')); }).code() ==
        ErrorCode::kInvalid);
}
