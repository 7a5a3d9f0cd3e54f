// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index_writer.hpp"

#include <algorithm>
#include <tuple>

#include "formats/object_index_generated.h"
#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/repo/object_filter.hpp"

namespace vmpack {
namespace {

constexpr std::uint32_t kBlockBytes = 48 * 256;
constexpr std::uint32_t kFenceObjects = 256;
constexpr std::size_t kWriteBytes = 1 * kMiB;
static_assert(sizeof(fb::IndexFrame) == 48 && sizeof(fb::IndexObject) == 48);

/// Hands out a body in pieces of `piece_bytes`, the last one shorter.
class Pieces {
 public:
  Pieces(std::size_t piece_bytes, std::function<void(ByteView)> take)
      : piece_bytes_(piece_bytes), take_(std::move(take)) {}

  template <typename Struct>
  void add(const Struct& value) {
    static_assert(sizeof(Struct) == 48 && kBlockBytes % sizeof(Struct) == 0);
    append(piece_, struct_bytes(value));
    if (piece_.size() >= piece_bytes_) end();
  }
  void end() {
    if (!piece_.empty()) take_(piece_);
    piece_.clear();
  }

 private:
  std::size_t piece_bytes_;
  std::function<void(ByteView)> take_;
  Bytes piece_;
};

void add_body(const IndexContents& contents, const EachObject& each_object, Pieces& pieces) {
  for (const IndexContents::Frame& frame : contents.frames) {
    pieces.add(fb::IndexFrame(to_flatbuffer(frame.digest), frame.offset, frame.stored_bytes, frame.pack));
  }
  each_object([&](const IndexedObject& object) {
    pieces.add(fb::IndexObject(to_flatbuffer(object.digest), object.frame, object.offset, object.bytes, 0));
  });
  pieces.end();
}

flatbuffers::FlatBufferBuilder make_header(const IndexContents& contents, std::uint64_t object_count,
                                           const EachObject& each_object) {
  std::vector<std::uint64_t> checksums;
  Pieces blocks(kBlockBytes, [&](ByteView block) { checksums.push_back(xxh3(block)); });
  std::vector<std::uint64_t> filter = make_filter(object_count);
  std::vector<std::uint64_t> fences;
  std::uint64_t count = 0;
  add_body(
      contents,
      [&](const auto& visit) {
        each_object([&](const IndexedObject& object) {
          if (count++ % kFenceObjects == 0) fences.push_back(object.digest.prefix());
          filter_insert(filter, object.digest);
          visit(object);
        });
      },
      blocks);
  VMPACK_ASSERT(count == object_count);

  std::vector<fb::Digest> packs;
  packs.reserve(contents.packs.size());
  for (const PackDigest& pack : contents.packs) packs.push_back(to_flatbuffer(pack));
  std::vector<fb::IndexBase> bases;
  bases.reserve(contents.bases.size());
  for (const auto& [frame, place] : contents.bases) {
    bases.emplace_back(to_flatbuffer(place.frame), to_flatbuffer(place.location.pack), place.location.offset,
                       place.location.stored_bytes, frame);
  }
  flatbuffers::FlatBufferBuilder builder;
  const auto bases_offset = bases.empty() ? 0 : builder.CreateVectorOfStructs(bases);
  const auto packs_offset = builder.CreateVectorOfStructs(packs);
  const auto checksums_offset = builder.CreateVector(checksums);
  const auto fences_offset = builder.CreateVector(fences);
  const auto filter_offset = builder.CreateVector(filter);
  builder.Finish(fb::CreateObjectIndexHeader(builder, packs_offset, contents.frames.size(), object_count,
                                             kBlockBytes, checksums_offset, fences_offset, kFenceObjects,
                                             filter_offset, bases_offset));
  return builder;
}

}  // namespace

Digest write_index_file(Store& store, const IndexContents& contents, std::uint64_t object_count,
                        const EachObject& each_object) {
  const auto draft = store.begin_draft();
  Sha256 hasher;
  const auto write = [&](ByteView bytes) {
    hasher.update(bytes);
    draft->append(std::span(&bytes, 1));
  };
  write(make_envelope(FileKind::kObjectIndex, buffer_bytes(make_header(contents, object_count, each_object)),
                      (contents.frames.size() + object_count) * sizeof(fb::IndexObject)));
  Pieces body(kWriteBytes, write);
  add_body(contents, each_object, body);
  const Digest digest = hasher.finish();
  draft->put_if_absent(index_key(digest));
  return digest;
}

void ObjectIndexBuilder::add_pack(const PackDigest& pack) { contents_.packs.push_back(pack); }

void ObjectIndexBuilder::add_frame(const FrameDigest& frame, std::uint64_t offset, std::uint32_t stored_bytes,
                                   std::span<const ObjectRecord> objects, std::span<const FramePlace> bases) {
  VMPACK_ASSERT(!contents_.packs.empty());
  const auto number = static_cast<std::uint32_t>(contents_.frames.size());
  contents_.frames.push_back(
      {frame, offset, stored_bytes, static_cast<std::uint32_t>(contents_.packs.size() - 1)});
  for (const FramePlace& base : bases) contents_.bases.push_back({number, base});
  std::uint64_t at = 0;
  for (const ObjectRecord& object : objects) {
    objects_.push_back({object.digest, number, static_cast<std::uint32_t>(at), object.bytes});
    at = next_object_offset(at, object.bytes);
  }
}

Digest ObjectIndexBuilder::write(Store& store) {
  std::ranges::sort(objects_, {}, [](const IndexedObject& object) {
    return std::tuple(object.digest.bytes, object.frame, object.offset);
  });
  const auto duplicates =
      std::ranges::unique(objects_, {}, [](const IndexedObject& object) { return object.digest.bytes; });
  objects_.erase(duplicates.begin(), duplicates.end());
  return write_index_file(store, contents_, objects_.size(), [this](const auto& visit) {
    for (const IndexedObject& object : objects_) visit(object);
  });
}

}  // namespace vmpack
