// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/bytes.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"

using namespace vmpack;

TEST_CASE("is_zero finds a single bit wherever it stands, at every short length") {
  for (std::size_t size : {0, 1, 15, 16, 17, 31, 32, 33, 64, 511, 512, 4096}) {
    Bytes bytes(size);
    REQUIRE(is_zero(bytes));
    for (std::size_t at = 0; at < size; ++at) {
      bytes[at] = std::byte{0x80};
      CHECK_FALSE(is_zero(bytes));
      bytes[at] = std::byte{0};
    }
  }
}

TEST_CASE("is_zero sees only its own view, however it is aligned") {
  Bytes bytes(100, std::byte{0xff});
  for (std::size_t at = 3; at < 60; ++at) bytes[at] = std::byte{0};
  CHECK(is_zero(ByteView(bytes).subspan(3, 57)));
  CHECK_FALSE(is_zero(ByteView(bytes).subspan(2, 57)));
  CHECK_FALSE(is_zero(ByteView(bytes).subspan(4, 57)));
}

TEST_CASE("a repeated non-zero byte is not zero") { CHECK_FALSE(is_zero(Bytes(1000, std::byte{1}))); }

TEST_CASE("a fixed struct survives being copied out of unaligned bytes") {
  const ByteRange range{.offset = 0x0123456789abcdef, .length = 42};
  Bytes bytes(1);
  append(bytes, struct_bytes(range));
  CHECK(read_struct<ByteRange>(ByteView(bytes).subspan(1)) == range);
}

TEST_CASE("rounding leaves multiples alone") {
  CHECK(round_up(0, 512) == 0);
  CHECK(round_up(512, 512) == 512);
  CHECK(round_up(513, 512) == 1024);
  CHECK(round_down(1023, 512) == 512);
  CHECK(divide_up(1025, 512) == 3);
}
