// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/parse_size.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;

TEST_CASE("sizes are read with their units, and refused when they make no sense") {
  CHECK(parse_size("4096") == 4096);
  CHECK(parse_size("512K") == 512 * kKiB);
  CHECK(parse_size("64MiB") == 64 * kMiB);
  CHECK(parse_size("2GB") == 2 * kGiB);
  CHECK(parse_size("1T") == kTiB);
  for (const auto* text :
       {"", "M", "-1M", "1.5G", "1X", "1MiBs", "99999999999999999999", "18446744073709551615K"}) {
    CHECK(test::error_of([&] { static_cast<void>(parse_size(text)); }).code() == ErrorCode::kInvalid);
  }
}
