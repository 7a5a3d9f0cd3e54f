// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/byte_ranges.hpp"

#include <catch2/catch.hpp>

namespace vmpack::test {

using Ranges = std::vector<ByteRange>;

TEST_CASE("what is in two sets is found, whatever lies around it") {
  const Ranges a = {{0, 10}, {20, 10}, {40, 10}};
  CHECK(intersect(a, Ranges{{5, 20}, {45, 100}}) == Ranges{{5, 5}, {20, 5}, {45, 5}});
  CHECK(intersect(a, a) == a);
  CHECK(intersect(a, Ranges{{10, 10}, {30, 10}, {50, 1}}).empty());
  CHECK(intersect(a, {}).empty());
  CHECK(intersect({}, a).empty());
  CHECK(total_bytes(a) == 30);
}

TEST_CASE("a range lies within a set when one of its ranges holds all of it") {
  const Ranges ranges = {{10, 10}, {20, 5}, {100, UINT64_MAX - 100}};
  CHECK(lies_within(ranges, 10, 10));
  CHECK(lies_within(ranges, 12, 3));
  CHECK(lies_within(ranges, UINT64_MAX - 1, 1));
  CHECK_FALSE(lies_within(ranges, 15, 6));
  CHECK_FALSE(lies_within(ranges, 9, 2));
  CHECK_FALSE(lies_within(ranges, 25, 1));
  CHECK_FALSE(lies_within(ranges, UINT64_MAX, UINT64_MAX));
  CHECK_FALSE(lies_within({}, 0, 0));
}

TEST_CASE("how much of a range lies in a set is counted over all that it touches") {
  const Ranges ranges = {{10, 10}, {30, 10}, {50, 10}};
  CHECK(overlap(ranges, {15, 40}) == 5 + 10 + 5);
  CHECK(overlap(ranges, {20, 10}) == 0);
  CHECK(overlap(ranges, {0, 100}) == 30);
  CHECK(overlap(ranges, {12, 2}) == 2);
  CHECK(overlap({}, {0, 100}) == 0);
  CHECK(ranges_at(ranges, {19, 12}).size() == 2);
  CHECK(ranges_at(ranges, {40, 10}).empty());
}

}  // namespace vmpack::test
