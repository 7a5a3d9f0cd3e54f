// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/forget.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

namespace vmpack {
namespace {

constexpr std::int64_t kHour = 60 * 60;
constexpr std::int64_t kDay = 24 * kHour;
/// Monday, 2026-11-23, midnight.
constexpr std::int64_t kMonday = 1795392000;

ReferenceEntry reference(const std::string& tag, std::int64_t seconds) {
  return {{"web", tag}, SnapshotDigest(sha256(as_byte_view(tag))), 1, seconds};
}

std::vector<std::string> kept(std::vector<ReferenceEntry> references, const KeepRules& rules) {
  std::vector<std::string> tags;
  for (const KeepDecision& decision : decide(std::move(references), rules)) {
    if (!decision.reasons.empty()) tags.push_back(decision.reference.name.tag);
  }
  return tags;
}

using Tags = std::vector<std::string>;

}  // namespace

TEST_CASE("the newest references stay, in whatever order they are given") {
  const std::vector<ReferenceEntry> references{reference("b", 20), reference("a", 10), reference("c", 30)};
  CHECK(kept(references, {.last = 2}) == Tags{"c", "b"});
  CHECK(kept(references, {.last = 9}) == Tags{"c", "b", "a"});
  CHECK(kept(references, {}).empty());
}

TEST_CASE("of each day, week, month and year the newest stays") {
  const std::vector<ReferenceEntry> references{
      reference("monday-night", kMonday + 1),    reference("monday", kMonday + 23 * kHour),
      reference("sunday", kMonday - 1),          reference("saturday", kMonday - kDay - 1),
      reference("october", kMonday - 30 * kDay), reference("last-year", kMonday - 400 * kDay)};
  CHECK(kept(references, {.daily = 2}) == Tags{"monday", "sunday"});
  CHECK(kept(references, {.weekly = 2}) == Tags{"monday", "sunday"});
  CHECK(kept(references, {.monthly = 2}) == Tags{"monday", "october"});
  CHECK(kept(references, {.yearly = 2}) == Tags{"monday", "last-year"});
  CHECK(kept(references, {.last = 1, .daily = 3}) == Tags{"monday", "sunday", "saturday"});
}

TEST_CASE("tags that a pattern matches stay") {
  const std::vector<ReferenceEntry> references{reference("v1", 1), reference("v2", 2), reference("test", 3)};
  CHECK(kept(references, {.tags = {"v*"}}) == Tags{"v2", "v1"});
  CHECK(kept(references, {.tags = {"v?", "test"}}) == Tags{"test", "v2", "v1"});
  CHECK(decide(references, {.tags = {"v1"}}).back().reasons == Tags{"tag v1"});
}

}  // namespace vmpack
