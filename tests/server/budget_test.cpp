// SPDX-License-Identifier: Apache-2.0
#include "server/budget.hpp"

#include <catch2/catch.hpp>
#include <string>

namespace vmpack {
namespace {

TEST_CASE("a claim that fits is taken at once") {
  Budget budget({2, 100});
  CHECK(budget.try_take({1, 60}));
  CHECK_FALSE(budget.try_take({1, 41}));
  CHECK(budget.try_take({1, 40}));
  CHECK_FALSE(budget.try_take({1, 0}));
  budget.give_back({1, 60});
  budget.give_back({1, 40});
  CHECK(budget.taken().bytes == 0);
  CHECK(budget.taken().requests == 0);
}

TEST_CASE("who does not get a share waits in line, and nobody overtakes") {
  Budget budget({10, 100});
  std::string order;
  REQUIRE(budget.take({1, 90}, [] {}));
  REQUIRE_FALSE(budget.take({1, 50}, [&] { order += 'a'; }));
  REQUIRE_FALSE(budget.take({1, 5}, [&] { order += 'b'; }));
  CHECK_FALSE(budget.try_take({1, 5}));
  budget.give_back({1, 90});
  CHECK(order == "ab");
  CHECK(budget.taken().bytes == 55);
}

TEST_CASE("whoever is forgotten is not called") {
  Budget budget({1, 1});
  REQUIRE(budget.take({1, 1}, [] {}));
  REQUIRE_FALSE(budget.take({1, 1}, [] { FAIL("called"); }));
  budget.forget_waiting();
  budget.give_back({1, 1});
  CHECK(budget.taken().bytes == 0);
}

}  // namespace
}  // namespace vmpack
