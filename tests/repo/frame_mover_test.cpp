// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/frame_mover.hpp"

#include <catch2/catch.hpp>

#include "tests/support/memory_store.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"

using namespace vmpack;
using vmpack::test::error_of;
using vmpack::test::MemoryStore;
using vmpack::test::random_bytes;

namespace {

/// A pack of three frames, the last of them a delta frame that stands on the first.
struct ThreeFrames {
  MemoryStore store;
  std::vector<FrameToMove> frames;
  Bytes content = random_bytes(1, 4096);

  explicit ThreeFrames(bool lies_about_objects = false) {
    PackBuilder builder(store);
    Bytes changed = content;
    changed[7] ^= std::byte{1};
    add(builder, encode_frame(ObjectClass::kData, 1, content, 3), content);
    const Bytes other = random_bytes(2, 8192);
    add(builder, encode_frame(ObjectClass::kData, 1, other, 3), lies_about_objects ? content : other);
    const FrameBase base{frames[0].digest, decode_frame(stored_[0], frames[0].digest, "base")};
    add(builder, encode_delta_frame(ObjectClass::kData, 1, changed, 3, {&base, 1}), changed);
    const PackDigest pack = builder.finish();
    for (FrameToMove& frame : frames) frame.from.pack = pack;
  }
  void add(PackBuilder& builder, EncodedFrame frame, const Bytes& object) {
    stored_.push_back(frame.stored);
    const ObjectRecord record{ObjectDigest(sha256(object)), static_cast<std::uint32_t>(object.size())};
    FrameToMove move{frame.digest, {{}, 0, static_cast<std::uint32_t>(frame.stored.size())}};
    move.from.offset = builder.add(std::move(frame), {&record, 1});
    frames.push_back(move);
  }
  FramePtr read(const FrameDigest& digest) {
    for (const FrameToMove& frame : frames) {
      if (frame.digest == digest) return read_frame(store, digest, frame.from);
    }
    throw Error(ErrorCode::kNotFound, "no such frame");
  }

 private:
  std::vector<Bytes> stored_;
};

std::vector<MovedPack> move(ThreeFrames& from, Store& to, std::span<const FrameToMove> frames) {
  std::vector<MovedPack> packs;
  NoProgress progress;
  FrameMover mover(
      from.store, to, kMiB, WholePacks::kKept, [&](const FrameDigest& digest) { return from.read(digest); },
      [&](MovedPack pack) { packs.push_back(std::move(pack)); });
  mover.move(frames, progress);
  mover.finish();
  return packs;
}

}  // namespace

TEST_CASE("a pack of which every frame moves keeps its name; of others new packs are made") {
  ThreeFrames three;
  MemoryStore to;
  const auto whole = move(three, to, three.frames);
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].pack == three.frames[0].from.pack);
  CHECK(whole[0].frames.size() == 3);
  CHECK(whole[0].frames[2].bases == std::vector{three.frames[0].digest});
  const auto part = move(three, to, std::span(three.frames).subspan(1));
  REQUIRE(part.size() == 1);
  CHECK(part[0].pack != three.frames[0].from.pack);
  for (const MovedFrame& frame : part[0].frames) {
    CHECK_NOTHROW(read_frame(to, frame.digest, {part[0].pack, frame.offset, frame.stored_bytes},
                             [&](const FrameDigest& digest) { return three.read(digest); }));
  }
}

TEST_CASE("a source that lies about what its frames hold is caught on the way") {
  ThreeFrames liar(true);
  MemoryStore to;
  const Error error = error_of([&] { static_cast<void>(move(liar, to, liar.frames)); });
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK_THAT(error.what(), Catch::Contains("does not match its SHA-256"));
}

TEST_CASE("a frame that is not where it is said to be is not moved") {
  ThreeFrames three;
  MemoryStore to;
  std::vector<FrameToMove> frames = three.frames;
  std::swap(frames[0].digest, frames[1].digest);
  CHECK(error_of([&] { static_cast<void>(move(three, to, frames)); }).code() == ErrorCode::kDamaged);
}
