// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/partition/cutter.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;

namespace {

constexpr CutParameters kParameters{16 * 1024, 64 * 1024, 256 * 1024};

std::vector<std::size_t> cuts_of(ByteView content) {
  std::vector<std::size_t> lengths;
  while (!content.empty()) {
    lengths.push_back(content_defined_cut(content, kParameters));
    content = content.subspan(lengths.back());
  }
  return lengths;
}

std::set<Digest> digests_of(ByteView content) {
  std::set<Digest> digests;
  for (const std::size_t length : cuts_of(content)) {
    digests.insert(sha256(content.first(length)));
    content = content.subspan(length);
  }
  return digests;
}

}  // namespace

TEST_CASE("cuts lie at sectors, within the limits, near the target on average") {
  const Bytes content = test::random_bytes(1, 16 * kMiB);
  const auto lengths = cuts_of(content);
  for (std::size_t i = 0; i + 1 < lengths.size(); ++i) {
    CHECK(lengths[i] % kSectorBytes == 0);
    CHECK(lengths[i] >= kParameters.bytes_min);
    CHECK(lengths[i] <= kParameters.bytes_max);
  }
  const std::size_t average = content.size() / lengths.size();
  CHECK(average > 48 * kKiB);
  CHECK(average < 112 * kKiB);
}

TEST_CASE("content that moved by whole sectors is found again") {
  const Bytes content = test::random_bytes(2, 8 * kMiB);
  Bytes moved = test::random_bytes(3, 7 * 512);
  append(moved, content);
  const auto before = digests_of(content);
  std::size_t found = 0;
  for (const Digest& digest : digests_of(moved)) found += before.count(digest);
  CHECK(found * 10 >= before.size() * 9);
}

TEST_CASE("repetitive content is cut at the largest length, an empty or short one not at all") {
  CHECK(cuts_of(Bytes(1 * kMiB, std::byte{7})).size() >= 4);
  CHECK(cuts_of(Bytes{}).empty());
  CHECK(cuts_of(Bytes(100)).size() == 1);
}
