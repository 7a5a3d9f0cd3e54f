// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/volume_match.hpp"

#include <catch2/catch.hpp>

using namespace vmpack;

namespace {

VolumeSummary volume(std::uint32_t number, std::string uuid, std::uint64_t files, std::string name = {}) {
  VolumeSummary summary;
  summary.number = number;
  summary.type = "ext4";
  summary.uuid = std::move(uuid);
  summary.file_count = files;
  summary.name = std::move(name);
  return summary;
}

using Matches = std::vector<std::optional<std::size_t>>;

}  // namespace

TEST_CASE("volumes are matched by UUID wherever they went") {
  CHECK(match_volumes({volume(1, "a", 5), volume(2, "b", 5)}, {volume(1, "b", 5), volume(2, "a", 5)}) ==
        Matches{1, 0});
}

TEST_CASE("volumes made anew are matched by number and name") {
  CHECK(match_volumes({volume(1, "a", 0), volume(2, "b", 5)}, {volume(1, "c", 0), volume(2, "d", 7)}) ==
        Matches{0, 1});
  CHECK(match_volumes({volume(0, "a", 5, "g/root"), volume(0, "b", 5, "g/home")},
                      {volume(0, "c", 5, "g/home"), volume(0, "d", 5, "g/root")}) == Matches{1, 0});
}

TEST_CASE("the only ones with files are matched when a disk got partitions") {
  CHECK(match_volumes({volume(0, "a", 5)}, {volume(1, "b", 0), volume(2, "c", 5)}) ==
        Matches{std::nullopt, 0});
  CHECK(match_volumes({volume(1, "a", 5)}, {volume(1, "", 0), volume(2, "c", 5)}) ==
        Matches{std::nullopt, 0});
}

TEST_CASE("a volume that could not be read is matched by its number alone") {
  CHECK(match_volumes({volume(1, "a", 5), volume(2, "b", 5)}, {volume(1, "x", 0), volume(2, "y", 5)}) ==
        Matches{0, 1});
}

TEST_CASE("what is in one image only has no match") {
  CHECK(match_volumes({}, {volume(1, "a", 5)}) == Matches{std::nullopt});
  CHECK(match_volumes({volume(1, "a", 5), volume(2, "b", 5)}, {volume(3, "c", 5)}) == Matches{std::nullopt});
  CHECK(match_volumes({volume(1, "a", 5)}, {}).empty());
}
