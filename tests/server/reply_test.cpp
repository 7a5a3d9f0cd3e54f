// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/reply.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "tests/server/chunks.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::nbd {
namespace {

using test::Chunks;
using test::parse_chunks;
using test::random_bytes;

constexpr std::uint64_t kCookie = 42;

/// Makes the reply to a read of `data` at `offset`, and checks that it tells exactly that.
Chunks finish_and_check(const Bytes& data, std::uint64_t offset, bool fragment = true) {
  Bytes buffer(kDataChunkHeaderBytes);
  append(buffer, data);
  const auto finished = finish_read(buffer, kCookie, offset, fragment);
  REQUIRE(finished.bytes <= buffer.size());
  mark_done(buffer.data() + finished.last_chunk);
  const auto chunks = parse_chunks(ByteView(buffer).first(finished.bytes), kCookie);
  CHECK(chunks.content(offset, data.size()) == data);
  return chunks;
}

void zero(Bytes& data, std::size_t from, std::size_t bytes) {
  std::fill_n(data.begin() + static_cast<std::ptrdiff_t>(from), bytes, std::byte{0});
}

TEST_CASE("data without zeros leaves as one chunk") {
  for (const std::size_t bytes : {1U, 3U, 511U, 4096U, 262144U}) {
    CHECK(finish_and_check(random_bytes(bytes, bytes), 1000).pieces.size() == 1);
  }
}

TEST_CASE("a read of nothing but zeros leaves as one hole") {
  for (const std::size_t bytes : {512U, 4096U, 262144U}) {
    for (const bool fragment : {true, false}) {
      const auto chunks = finish_and_check(Bytes(bytes), 777, fragment);
      REQUIRE(chunks.pieces.size() == 1);
      CHECK(chunks.pieces.front().hole);
    }
  }
}

TEST_CASE("zeros that take less room than a hole chunk stay data") {
  for (std::size_t bytes = 1; bytes < kHoleChunkBytes; ++bytes) {
    const auto chunks = finish_and_check(Bytes(bytes), 0);
    REQUIRE(chunks.pieces.size() == 1);
    CHECK_FALSE(chunks.pieces.front().hole);
  }
}

TEST_CASE("long runs of zeros become holes, short ones do not") {
  Bytes data = random_bytes(1, 256 * 1024);
  zero(data, 0, 40 * 1024);           // at the start
  zero(data, 64 * 1024, 16 * 1024);   // too short
  zero(data, 128 * 1024, 32 * 1024);  // just long enough
  zero(data, 200 * 1024, 56 * 1024);  // up to the end
  const auto chunks = finish_and_check(data, 8192);
  CHECK(chunks.holes() == 3);
  CHECK(chunks.pieces.size() == 5);
}

TEST_CASE("a read that must not be fragmented is one chunk of data") {
  Bytes data = random_bytes(2, 256 * 1024);
  zero(data, 64 * 1024, 128 * 1024);
  const auto chunks = finish_and_check(data, 0, false);
  CHECK(chunks.pieces.size() == 1);
  CHECK(chunks.holes() == 0);
}

TEST_CASE("holes keep to the blocks of the image when a read is not aligned") {
  Bytes data = random_bytes(3, 200 * 1024);
  zero(data, 50'000, 100'000);
  const auto chunks = finish_and_check(data, 12'345);
  REQUIRE(chunks.holes() == 1);
  for (const auto& piece : chunks.pieces) {
    if (!piece.hole) continue;
    CHECK(piece.offset % 4096 == 0);
    CHECK((piece.offset + piece.length) % 4096 == 0);
  }
}

TEST_CASE("any pattern of zeros comes back as it was") {
  test::Random random(4);
  for (int round = 0; round < 300; ++round) {
    Bytes data = random_bytes(random.next(), 1 + random.below(300'000));
    for (std::uint64_t i = random.below(6); i > 0; --i) {
      const std::size_t from = random.below(data.size());
      zero(data, from, random.below(data.size() - from) + 1);
    }
    finish_and_check(data, random.below(1'000'000), random.below(4) != 0);
  }
}

TEST_CASE("plain replies speak the client's dialect") {
  CHECK(plain_reply(false, 1, Status::kInvalid, "text").size() == kSimpleReplyBytes);
  CHECK(plain_reply(false, 1, Status::kNone, {}).size() == kSimpleReplyBytes);
  CHECK(plain_reply(true, 1, Status::kNone, {}).size() == kChunkHeaderBytes);
  CHECK(parse_chunks(plain_reply(true, kCookie, Status::kInvalid, "text"), kCookie).error ==
        Status::kInvalid);
}

TEST_CASE("extents join equal neighbours and end where the request does") {
  std::vector<Extent> extents;
  CHECK(append_extents(extents, {{4096, true}, {8192, false}}, 20'480));
  CHECK(append_extents(extents, {{4096, false}, {1024, true}}, 20'480));
  CHECK_FALSE(append_extents(extents, {{1 * kMiB, true}}, 20'480));
  CHECK(extents == std::vector<Extent>{{4096, 3}, {12'288, 0}, {4096, 3}});
}

TEST_CASE("an extent never has more bytes than the wire can say") {
  std::vector<Extent> extents;
  append_extents(extents, {{0xffffffffULL, true}}, 0xffffffffULL);
  REQUIRE(extents.size() == 2);
  CHECK(extents[0] == Extent{0xfffffe00, 3});
  CHECK(extents[1] == Extent{0x1ff, 3});
}

TEST_CASE("a fragmented image gives no more extents than one reply holds") {
  std::vector<Extent> extents;
  std::vector<AllocationRun> runs;
  for (std::size_t i = 0; i < kExtentsMax + 10; ++i) runs.push_back({512, i % 2 == 0});
  CHECK_FALSE(append_extents(extents, runs, 1 * kGiB));
  CHECK(extents.size() == kExtentsMax);
}

ImagePiece data_piece(std::uint64_t seed, std::size_t bytes, std::size_t frame_bytes = 0) {
  auto frame = std::make_shared<DecodedFrame>();
  const Bytes content = random_bytes(seed, std::max(bytes, frame_bytes));
  frame->bytes.assign(content.begin(), content.end());
  const std::byte* const data = frame->bytes.data();
  return {std::move(frame), data, bytes};
}

ImagePiece zero_piece(std::size_t bytes) { return {nullptr, nullptr, bytes}; }

TEST_CASE("a shared read says what its pieces hold, with holes where they are long") {
  const std::vector<ImagePiece> pieces{zero_piece(64 * 1024), data_piece(1, 1000),   zero_piece(500),
                                       data_piece(2, 70'000), zero_piece(32 * 1024), zero_piece(100),
                                       data_piece(3, 1)};
  Bytes content;
  for (const ImagePiece& piece : pieces) {
    append(content, piece.frame ? ByteView(piece.data, piece.length) : ByteView(Bytes(piece.length)));
  }
  SharedRead reply = share_read(pieces, kCookie, 12'345);
  mark_done(reply.headers.data() + reply.last_chunk);
  Bytes sent;
  for (const ByteView part : reply.parts) append(sent, part);
  const Chunks chunks = parse_chunks(sent, kCookie);
  CHECK(chunks.content(12'345, content.size()) == content);
  CHECK(chunks.holes() == 2);
  CHECK(chunks.pieces.size() == 4);
}

TEST_CASE("what would hold much more than it sends is not shared") {
  CHECK(is_worth_sharing(std::vector{data_piece(1, 65'536), zero_piece(10)}, 65'546));
  CHECK_FALSE(is_worth_sharing(std::vector{data_piece(1, 65'536, 1'000'000)}, 65'536));
  std::vector<ImagePiece> many;
  for (std::uint64_t i = 0; i < 64; ++i) many.push_back(data_piece(i, 2048));
  CHECK_FALSE(is_worth_sharing(many, 64 * 2048));
}

}  // namespace
}  // namespace vmpack::nbd
