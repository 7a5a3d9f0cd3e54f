// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/error.hpp"

#include <catch2/catch.hpp>

#include <cerrno>

#include "libvmpack/base/object_class.hpp"

using namespace vmpack;

TEST_CASE("a failed system call says what was tried, on what, and why") {
  const Error error = system_error(ENOSPC, "cannot write", "/repo/packs/x");
  CHECK(error.code() == ErrorCode::kNoSpace);
  CHECK_THAT(error.what(), Catch::StartsWith("cannot write /repo/packs/x: "));
  CHECK_FALSE(error.hint().empty());
}

TEST_CASE("error numbers become codes that programs can act on") {
  CHECK(system_error(ENOENT, "a", "b").code() == ErrorCode::kNotFound);
  CHECK(system_error(ENOTDIR, "a", "b").code() == ErrorCode::kNotFound);
  CHECK(system_error(EEXIST, "a", "b").code() == ErrorCode::kAlreadyExists);
  CHECK(system_error(EDQUOT, "a", "b").code() == ErrorCode::kNoSpace);
  CHECK(system_error(EIO, "a", "b").code() == ErrorCode::kIo);
  CHECK(system_error(EACCES, "a", "b").code() == ErrorCode::kIo);
}

TEST_CASE("every object class has a name of its own, and unknown values are none") {
  for (std::uint8_t value = 0; value < kObjectClassCount; ++value) {
    REQUIRE(object_class_from(value).has_value());
    for (std::uint8_t other = 0; other < value; ++other) {
      CHECK(to_string(*object_class_from(value)) != to_string(*object_class_from(other)));
    }
  }
  CHECK_FALSE(object_class_from(kObjectClassCount).has_value());
  CHECK_FALSE(object_class_from(255).has_value());
}
