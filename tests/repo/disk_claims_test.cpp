// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/disk_claims.hpp"

#include <catch2/catch.hpp>
#include <tuple>

using namespace vmpack;

namespace {

constexpr std::uint32_t kNobody = DiskClaims::kNobody;
using Parts = std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>>;

Parts split(const DiskClaims& claims, const ByteRange& range) {
  Parts parts;
  claims.split(range, [&](const ByteRange& part, std::uint32_t owner) {
    parts.emplace_back(part.offset, part.length, owner);
  });
  return parts;
}

}  // namespace

TEST_CASE("a range is split where claims begin and end") {
  DiskClaims claims;
  claims.add({100, 50}, 1);
  claims.add({150, 50}, 2);
  claims.add({300, 10}, 3);
  claims.settle();
  CHECK(split(claims, {0, 50}) == Parts{{0, 50, kNobody}});
  CHECK(split(claims, {90, 250}) == Parts{{90, 10, kNobody},
                                          {100, 50, 1},
                                          {150, 50, 2},
                                          {200, 100, kNobody},
                                          {300, 10, 3},
                                          {310, 30, kNobody}});
  CHECK(split(claims, {120, 40}) == Parts{{120, 30, 1}, {150, 10, 2}});
  CHECK(split(claims, {310, 0}).empty());
}

TEST_CASE("claims that overlap, are empty or wrap around hurt nobody") {
  DiskClaims claims;
  claims.add({100, 100}, 1);
  claims.add({50, 100}, 2);
  claims.add({110, 20}, 3);
  claims.add({500, 0}, 4);
  claims.add({UINT64_MAX - 10, 100}, 5);
  claims.settle();
  CHECK(split(claims, {0, 600}) == Parts{{0, 50, kNobody}, {50, 100, 2}, {150, 50, 1}, {200, 400, kNobody}});
  DiskClaims none;
  none.settle();
  CHECK(split(none, {0, 10}) == Parts{{0, 10, kNobody}});
}
