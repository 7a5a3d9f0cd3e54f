// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/pack/frame.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include <catch2/catch.hpp>

#include "libvmpack/base/limits.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using vmpack::test::error_of;
using vmpack::test::random_bytes;

namespace {

Bytes text(std::size_t size) {
  Bytes bytes;
  while (bytes.size() < size) append(bytes, as_byte_view("the same words again and again\n"));
  bytes.resize(size);
  return bytes;
}

/// The frame with one byte of its head changed, under its new digest: what a later version might write.
std::pair<Bytes, FrameDigest> with_head_byte(std::size_t at, std::uint8_t value) {
  EncodedFrame frame = encode_frame(ObjectClass::kText, 1, text(4096), 3);
  frame.stored[at] = static_cast<std::byte>(value);
  const FrameDigest digest(sha256(frame.stored));
  return {std::move(frame.stored), digest};
}

}  // namespace

TEST_CASE("a frame comes back as it was encoded") {
  for (const Bytes& raw : {text(200'000), random_bytes(1, 200'000), Bytes(512), Bytes{}, text(4 * kMiB)}) {
    const EncodedFrame frame = encode_frame(ObjectClass::kText, 3, raw, 3);
    const auto decoded = decode_frame(frame.stored, frame.digest, "a frame");
    CHECK(std::ranges::equal(decoded->bytes, raw));
    CHECK(decoded->object_class == ObjectClass::kText);
    CHECK(decoded->object_count == 3);
  }
}

TEST_CASE("what does not compress is stored as it is, what does is not") {
  CHECK(encode_frame(ObjectClass::kOpaque, 1, random_bytes(2, 65536), 3).codec == Codec::kStored);
  const EncodedFrame frame = encode_frame(ObjectClass::kText, 1, text(65536), 3);
  CHECK(frame.codec == Codec::kZstd);
  CHECK(frame.stored.size() < 2000);
}

TEST_CASE("the same objects give the same frame") {
  CHECK(encode_frame(ObjectClass::kText, 1, text(100'000), 3).digest ==
        encode_frame(ObjectClass::kText, 1, text(100'000), 3).digest);
}

TEST_CASE("a frame with any byte changed is refused") {
  EncodedFrame frame = encode_frame(ObjectClass::kText, 1, text(5000), 3);
  for (std::byte& byte : frame.stored) {
    byte ^= std::byte{0x10};
    CHECK(error_of([&] { (void)decode_frame(frame.stored, frame.digest, "pack x"); }).code() ==
          ErrorCode::kDamaged);
    byte ^= std::byte{0x10};
  }
}

TEST_CASE("a frame that needs what this version does not know is refused by name") {
  const auto refused = [](std::size_t at, std::uint8_t value) {
    const auto [stored, digest] = with_head_byte(at, value);
    const Error error = error_of([&] { (void)decode_frame(stored, digest, "pack x"); });
    CHECK(error.code() == ErrorCode::kUnsupported);
    return std::string(error.what());
  };
  CHECK_THAT(refused(0, 2), Catch::Contains("version 2"));
  CHECK_THAT(refused(1, 9), Catch::Contains("codec 9"));
  CHECK_THAT(refused(3, 1), Catch::Contains("cipher 1"));
  CHECK_THAT(refused(5, 1), Catch::Contains("dictionary"));
}

TEST_CASE("a frame that claims to be huge is refused before memory is taken") {
  const auto [stored, digest] = with_head_byte(11, 0x7f);
  CHECK(error_of([&, &s = stored, &d = digest] { (void)decode_frame(s, d, "pack x"); }).code() ==
        ErrorCode::kLimit);
}

namespace {

/// What was, what is, and the frame between them.
struct Delta {
  Bytes older = random_bytes(3, 200'000);
  Bytes newer = older;
  EncodedFrame base = encode_frame(ObjectClass::kBoot, 1, older, 3);
  EncodedFrame frame;

  Delta() {
    std::ranges::copy(random_bytes(4, 5000), newer.begin() + 70'000);
    frame = encode_delta_frame(ObjectClass::kBoot, 1, newer, 3,
                               std::vector{FrameBase{base.digest, decoded_base()}});
  }
  [[nodiscard]] FramePtr decoded_base() const { return decode_frame(base.stored, base.digest, "a base"); }
  [[nodiscard]] BaseReader reader() const {
    return [this](const FrameDigest& digest) {
      CHECK(digest == base.digest);
      return decoded_base();
    };
  }
};

}  // namespace

TEST_CASE("a delta frame holds what changed, and comes back with its bases") {
  const Delta delta;
  CHECK(delta.frame.stored.size() < 6000);
  const auto decoded = decode_frame(delta.frame.stored, delta.frame.digest, "a frame", delta.reader());
  CHECK(std::ranges::equal(decoded->bytes, delta.newer));
  CHECK(decoded->bases == std::vector{delta.base.digest});
}

TEST_CASE("a delta frame on two others takes from both") {
  const std::array<Bytes, 2> older = {random_bytes(1, 256 * kKiB), random_bytes(2, 256 * kKiB)};
  std::vector<FrameBase> bases;
  for (const Bytes& bytes : older) {
    const EncodedFrame frame = encode_frame(ObjectClass::kData, 1, bytes, 3);
    bases.push_back({frame.digest, decode_frame(frame.stored, frame.digest, "a base")});
  }
  Bytes newer(older[1].begin(), older[1].begin() + 100'352);
  append(newer, ByteView(older[0]).first(100'352));
  const EncodedFrame frame = encode_delta_frame(ObjectClass::kData, 1, newer, 3, bases);
  CHECK(frame.stored.size() < 1000);
  const auto decoded = decode_frame(frame.stored, frame.digest, "a frame", [&](const FrameDigest& digest) {
    return std::ranges::find(bases, digest, &FrameBase::digest)->frame;
  });
  CHECK(std::ranges::equal(decoded->bytes, newer));
}

TEST_CASE("a delta frame stands on frames that are none") {
  const Delta delta;
  CHECK(error_of([&] { (void)decode_frame(delta.frame.stored, delta.frame.digest, "pack x"); }).code() ==
        ErrorCode::kDamaged);
  const auto on_a_delta = [&](const FrameDigest&) {
    return decode_frame(delta.frame.stored, delta.frame.digest, "a base", delta.reader());
  };
  const Error error =
      error_of([&] { (void)decode_frame(delta.frame.stored, delta.frame.digest, "pack x", on_a_delta); });
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK_THAT(error.what(), Catch::Contains("delta frame"));
}

TEST_CASE("a delta frame with another base than its own, or too many, is refused") {
  const Delta delta;
  const auto wrong = std::make_shared<DecodedFrame>();
  wrong->bytes.resize(1000);
  CHECK(error_of([&] {
          (void)decode_frame(delta.frame.stored, delta.frame.digest, "pack x",
                             [&](const FrameDigest&) { return wrong; });
        }).code() == ErrorCode::kDamaged);
  wrong->bytes.resize(limits::kDeltaPrefixBytesMax + 1);
  CHECK(error_of([&] {
          (void)decode_frame(delta.frame.stored, delta.frame.digest, "pack x",
                             [&](const FrameDigest&) { return wrong; });
        }).code() == ErrorCode::kLimit);
  const auto [many, digest] = with_head_byte(6, 17);
  CHECK(error_of([&, &s = many, &d = digest] { (void)decode_frame(s, d, "pack x"); }).code() ==
        ErrorCode::kLimit);
  const auto [some, other] = with_head_byte(6, 2);
  CHECK(error_of([&, &s = some, &d = other] { (void)decode_frame(s, d, "pack x"); }).code() ==
        ErrorCode::kDamaged);
}
