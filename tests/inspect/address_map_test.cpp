// SPDX-License-Identifier: Apache-2.0
// The volume walker's arithmetic: addresses through layers of devices, lists and sets of ranges.
#include "libvmpack/inspect/walker/address_map.hpp"

#include <sys/sysmacros.h>

#include <catch2/catch.hpp>

#include "libvmpack/inspect/walker/disk_address.hpp"
#include "libvmpack/inspect/walker/range_set.hpp"
#include "tests/support/require_error.hpp"

namespace vmpack::test {
namespace {

std::vector<ByteRange> translated(const AddressMap& map, ByteRange range) {
  std::vector<ByteRange> pieces;
  REQUIRE(map.translate(range, pieces));
  return pieces;
}

const AddressMap& two_segments() {
  static const AddressMap map({{1000, 50'000, 500}, {0, 20'000, 1000}});
  return map;
}

}  // namespace

TEST_CASE("a range that straddles segments is split where they meet") {
  CHECK(translated(two_segments(), {0, 10}) == std::vector<ByteRange>{{20'000, 10}});
  CHECK(translated(two_segments(), {999, 2}) == std::vector<ByteRange>{{20'999, 1}, {50'000, 1}});
  CHECK(translated(two_segments(), {0, 1500}) == std::vector<ByteRange>{{20'000, 1000}, {50'000, 500}});
  CHECK(translated(two_segments(), {1499, 1}) == std::vector<ByteRange>{{50'499, 1}});
}

TEST_CASE("a range of which some lies nowhere is not translated in part") {
  std::vector<ByteRange> pieces{{1, 2}};
  CHECK_FALSE(two_segments().translate({1499, 2}, pieces));
  CHECK_FALSE(two_segments().translate({1500, 1}, pieces));
  CHECK_FALSE(AddressMap().translate({0, 1}, pieces));
  CHECK_FALSE(AddressMap({{100, 0, 10}, {200, 10, 10}}).translate({105, 100}, pieces));
  CHECK_FALSE(AddressMap({{100, 0, 10}}).translate({99, 2}, pieces));
  CHECK(pieces == std::vector<ByteRange>{{1, 2}});
}

TEST_CASE("maps with overlaps or without end are refused") {
  CHECK(error_of([] { AddressMap({{0, 0, 10}, {9, 100, 10}}); }).code() == ErrorCode::kDamaged);
  CHECK(error_of([] { AddressMap({{UINT64_MAX - 5, 0, 10}}); }).code() == ErrorCode::kDamaged);
  CHECK(error_of([] { AddressMap({{0, UINT64_MAX - 5, 10}}); }).code() == ErrorCode::kDamaged);
}

TEST_CASE("a map over another leads to the lowest layer") {
  const AddressMap partition({{0, 1'000'000, 60'000}});
  CHECK(two_segments().over(partition).runs() ==
        std::vector<AddressRun>{{0, 1'020'000, 1000}, {1000, 1'050'000, 500}});
  const AddressMap pieces({{20'000, 7, 300}, {20'300, 900'000, 100}, {50'100, 5000, 50}});
  CHECK(two_segments().over(pieces).runs() ==
        std::vector<AddressRun>{{0, 7, 300}, {300, 900'000, 100}, {1100, 5000, 50}});
  CHECK(two_segments().over(AddressMap()).runs().empty());
}

TEST_CASE("a line of a device mapper's table tells where its stretch lies") {
  CHECK(parse_linear_target("0 8192 linear 8:2 2048") ==
        LinearTarget{{0, 2048 * 512, 8192 * 512}, makedev(8, 2)});
  CHECK(parse_linear_target("8192 1 linear 259:70000 0") ==
        LinearTarget{{8192 * 512, 0, 512}, makedev(259, 70'000)});
}

TEST_CASE("other kinds of logical volumes are told by name, and noise is refused") {
  const Error striped =
      error_of([] { static_cast<void>(parse_linear_target("0 8192 striped 2 128 8:2 0 8:3 0")); });
  CHECK(striped.code() == ErrorCode::kUnsupported);
  CHECK_THAT(striped.what(), Catch::Contains("striped"));
  for (const char* line : {"", "0", "0 8192", "0 8192 linear", "0 8192 linear 8:2", "0 8192 linear 8 2048",
                           "x 8192 linear 8:2 2048", "0 8192 linear 8:2 2048 1", "0 -1 linear 8:2 2048",
                           "0 8192 linear 8:2 99999999999999999999", "0 8192 linear 4294967296:2 0",
                           "36028797018963968 1 linear 8:2 0", "0 9 linear 8:2 18014398509481983"}) {
    INFO(line);
    CHECK(error_of([line] { static_cast<void>(parse_linear_target(line)); }).what() != std::string());
  }
}

TEST_CASE("ranges are sorted and joined, and taken from one another") {
  std::vector<ByteRange> ranges{{30, 10}, {0, 10}, {10, 5}, {35, 2}, {50, 0}, {38, 10}};
  sort_and_join(ranges);
  CHECK(ranges == std::vector<ByteRange>{{0, 15}, {30, 18}});

  const std::vector<ByteRange> taken{{5, 2}, {14, 20}, {40, 100}};
  CHECK(without(ranges, taken) == std::vector<ByteRange>{{0, 5}, {7, 7}, {34, 6}});
  CHECK(without(ranges, {}) == ranges);
  CHECK(without({}, taken).empty());
  const std::vector<ByteRange> all{{0, 1000}};
  CHECK(without(ranges, all).empty());
  CHECK(without(all, ranges) == std::vector<ByteRange>{{15, 15}, {48, 952}});

  CHECK(touches(ranges, {14, 1}));
  CHECK(touches(ranges, {0, 100}));
  CHECK(touches(ranges, {47, 1}));
  CHECK_FALSE(touches(ranges, {15, 15}));
  CHECK_FALSE(touches(ranges, {48, 5}));
  CHECK_FALSE(touches({}, {0, 5}));
}

TEST_CASE("a set of ranges gives each byte away once, all of a request or nothing") {
  const auto takes = [](RangeSet& set, std::vector<ByteRange> ranges) { return set.take(ranges); };
  RangeSet set;
  CHECK(takes(set, {{10, 10}, {20, 10}}));
  CHECK_FALSE(takes(set, {{0, 5}, {29, 1}}));
  CHECK(takes(set, {{0, 10}}));
  CHECK(takes(set, {{30, 5}}));
  CHECK_FALSE(takes(set, {{34, 100}}));
  CHECK_FALSE(takes(set, {{0, 1}}));
  CHECK(takes(set, {{35, 1}, {100, 1}}));
  CHECK(takes(set, {}));
}

}  // namespace vmpack::test
