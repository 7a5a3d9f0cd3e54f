// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/parse_duration.hpp"

#include <catch2/catch.hpp>

#include "tests/support/require_error.hpp"

namespace vmpack {

TEST_CASE("durations are numbers with a unit") {
  CHECK(parse_duration("0") == 0);
  CHECK(parse_duration("90s") == 90);
  CHECK(parse_duration("30m") == 1800);
  CHECK(parse_duration("24h") == 86400);
  CHECK(parse_duration("7d") == 7 * 86400);
  CHECK(parse_duration("2w") == 14 * 86400);
  for (const char* wrong :
       {"", "s", "-1s", "1x", "1 h", "1hh", "99999999999999999999", "9999999999w", "1.5h"}) {
    INFO(wrong);
    CHECK(test::error_of([&] { static_cast<void>(parse_duration(wrong)); }).code() == ErrorCode::kInvalid);
  }
}

}  // namespace vmpack
