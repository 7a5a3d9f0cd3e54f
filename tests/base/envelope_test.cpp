// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/envelope.hpp"

#include <catch2/catch.hpp>

#include <cstddef>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/error.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using test::error_of;

namespace {

const Bytes kHeader = test::random_bytes(7, 100);

// An envelope as another version of this program would write it: with a right checksum.
Bytes resealed(Envelope envelope) {
  envelope.checksum = xxh3(struct_bytes(envelope).first(offsetof(Envelope, checksum)));
  Bytes bytes;
  append(bytes, struct_bytes(envelope));
  return bytes;
}

Envelope parse(ByteView bytes) { return parse_envelope(bytes, FileKind::kBlockMap, "maps/ab.map", 1000); }

Envelope good() { return parse(make_envelope(FileKind::kBlockMap, kHeader, 5)); }

}  // namespace

TEST_CASE("an envelope says what was put into it, and the body begins at a multiple of 64") {
  const Bytes bytes = make_envelope(FileKind::kBlockMap, kHeader, 12345);
  const Envelope envelope = parse(bytes);
  CHECK(envelope.version == kFormatVersion);
  CHECK(envelope.body_bytes == 12345);
  CHECK(envelope.header_bytes == kHeader.size());
  CHECK(body_offset(envelope) == bytes.size());
  CHECK(bytes.size() == 192);
  CHECK_NOTHROW(
      check_header(envelope, ByteView(bytes).subspan(kEnvelopeBytes, kHeader.size()), "maps/ab.map"));
}

TEST_CASE("each flipped bit of an envelope is detected") {
  Bytes bytes = make_envelope(FileKind::kBlockMap, kHeader, 12345);
  for (std::size_t bit = 0; bit < 8 * kEnvelopeBytes; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    const auto error = error_of([&] { (void)parse(bytes); });
    REQUIRE(error.code() == ErrorCode::kDamaged);
    CHECK_THAT(error.what(), Catch::Contains("maps/ab.map"));
    bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
}

TEST_CASE("each flipped bit of a header, and a header of another length, is detected") {
  const Envelope envelope = good();
  Bytes header = kHeader;
  for (std::size_t bit = 0; bit < 8 * header.size(); ++bit) {
    header[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    CHECK(error_of([&] { check_header(envelope, header, "maps/ab.map"); }).code() == ErrorCode::kDamaged);
    header[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  CHECK(error_of([&] { check_header(envelope, ByteView(kHeader).first(99), "x"); }).code() ==
        ErrorCode::kDamaged);
}

TEST_CASE("a truncated envelope is damage, at every length") {
  const Bytes bytes = make_envelope(FileKind::kBlockMap, kHeader, 0);
  for (std::size_t size = 0; size < kEnvelopeBytes; ++size) {
    CHECK(error_of([&] { (void)parse(ByteView(bytes).first(size)); }).code() == ErrorCode::kDamaged);
  }
}

TEST_CASE("a file of another kind is not taken for this one") {
  const auto error = error_of([&] { (void)parse(make_envelope(FileKind::kPlaces, kHeader, 0)); });
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK_THAT(error.what(), Catch::Contains("a block map"));
}

TEST_CASE("a later version is refused by its number") {
  Envelope envelope = good();
  envelope.version = 7;
  const auto error = error_of([&] { (void)parse(resealed(envelope)); });
  CHECK(error.code() == ErrorCode::kUnsupported);
  CHECK_THAT(error.what(), Catch::Contains("version 7") && Catch::Contains("maps/ab.map"));
  CHECK(error.hint() == "use a newer vmpack");
}

TEST_CASE("an unknown required feature is refused by its name") {
  Envelope envelope = good();
  envelope.required_features = 1ULL << 37U;
  const auto error = error_of([&] { (void)parse(resealed(envelope)); });
  CHECK(error.code() == ErrorCode::kUnsupported);
  CHECK_THAT(error.what(), Catch::Contains("'bit-37'"));
  CHECK_THAT(error_of([] { check_required_features("x", 0b1110, 0b0110); }).what(),
             Catch::Contains("'bit-3'"));
  CHECK_NOTHROW(check_required_features("x", 0b0110, 0b1110));
  CHECK_THAT(error_of([] { throw_unknown_feature("vmpack.json", "chunk-cipher"); }).what(),
             Catch::Contains("chunk-cipher") && Catch::Contains("vmpack.json"));
}

TEST_CASE("a header over the limit is refused before memory is taken") {
  Envelope envelope = good();
  envelope.header_bytes = 1001;
  CHECK(error_of([&] { (void)parse(resealed(envelope)); }).code() == ErrorCode::kLimit);
  envelope.header_bytes = UINT64_MAX;
  CHECK(error_of([&] { (void)parse(resealed(envelope)); }).code() == ErrorCode::kLimit);
}
