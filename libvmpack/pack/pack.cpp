// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/pack/pack.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/pack_generated.h"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::array<std::uint8_t, 8> kHeadMagic = {'v', 'm', 'p', 'a', 'c', 'k', '\r', '\n'};
constexpr std::array<std::uint8_t, 8> kTrailerMagic = {'V', 'P', 'A', 'C', 'K', 'E', 'N', 'D'};
constexpr std::uint64_t kKnownFeatures = 0;
/// Frames are written when they are this much together.
constexpr std::size_t kWriteBytes = 1 * kMiB;
static_assert(sizeof(fb::PackHead) == 16 && sizeof(fb::PackTrailer) == 112);

fb::PackHead make_head() { return {kHeadMagic, kFormatVersion, 0}; }

PackDigest digest_of(const fb::PackHead& head, const fb::PackTrailer& trailer) {
  Sha256 hasher;
  hasher.update(struct_bytes(head));
  hasher.update(struct_bytes(trailer));
  return PackDigest(hasher.finish());
}

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "run 'vmpack verify' to see what it affects, and restore the file from a copy of the repository"};
}

/// Head and trailer, checked against the pack's name and its size.
fb::PackTrailer read_trailer(Store& store, const PackDigest& pack, const std::string& key) {
  const auto stat = store.stat(key);
  if (!stat) {
    throw Error(
        ErrorCode::kNotFound, fmt::format("{}/{} is missing", store.location(), key),
        "run 'vmpack verify' to see what it affects, and restore the file from a copy of the repository");
  }
  constexpr std::uint64_t kFixed = sizeof(fb::PackHead) + sizeof(fb::PackTrailer);
  if (stat->bytes < kFixed) throw damaged(key, "it is shorter than an empty pack");
  if (stat->bytes > limits::kPackBytesMax)
    throw Error(ErrorCode::kLimit, fmt::format("{} is over the limit", key));
  fb::PackHead head;
  fb::PackTrailer trailer;
  store.get_range(key, 0, std::as_writable_bytes(std::span(&head, 1)));
  store.get_range(key, stat->bytes - sizeof(trailer), std::as_writable_bytes(std::span(&trailer, 1)));
  if (digest_of(head, trailer) != pack) throw damaged(key, "head and trailer do not match its name");
  if (!std::ranges::equal(*head.magic(), kHeadMagic) ||
      !std::ranges::equal(*trailer.magic(), kTrailerMagic)) {
    throw damaged(key, "it is not a pack");
  }
  if (trailer.version() != kFormatVersion) throw_unknown_version(key, trailer.version());
  check_required_features(key, trailer.required_features(), kKnownFeatures);
  if (trailer.frame_table_bytes() > limits::kPackTableBytesMax ||
      trailer.object_table_bytes() > limits::kPackTableBytesMax || trailer.frames_bytes() > stat->bytes ||
      trailer.frames_bytes() + trailer.frame_table_bytes() + trailer.object_table_bytes() + sizeof(trailer) !=
          stat->bytes) {
    throw damaged(key, "its parts do not add up to its size");
  }
  return trailer;
}

Bytes read_table(Store& store, const std::string& key, std::uint64_t offset, std::uint64_t bytes,
                 const Digest& expected) {
  Bytes table(bytes);
  store.get_range(key, offset, table);
  if (sha256(table) != expected) throw damaged(key, "a table does not match its SHA-256");
  return table;
}

void check_frame(const PackFrame& frame, const PackTables& tables, std::uint64_t offset,
                 std::string_view key) {
  if (frame.offset != offset) throw damaged(key, "its frames are not contiguous");
  if (frame.stored_bytes < sizeof(fb::FrameHead) || frame.stored_bytes > limits::kFrameStoredBytesMax ||
      frame.raw_bytes > limits::kFrameRawBytesMax || frame.object_count > limits::kFrameObjectsMax ||
      std::uint64_t{frame.first_object} + frame.object_count > tables.objects.size()) {
    throw damaged(key, "a frame's entry is out of range");
  }
  std::uint64_t end = 0;
  for (std::uint32_t i = 0; i < frame.object_count; ++i) {
    end = round_up(end, kObjectAlignment) + tables.objects[frame.first_object + i].bytes;
  }
  if (end > frame.raw_bytes) throw damaged(key, "a frame is shorter than its objects");
}

}  // namespace

std::string pack_key(const PackDigest& pack) {
  const std::string hex = pack.hex();
  return fmt::format("packs/{}/{}.pack", hex.substr(0, 2), hex);
}

std::optional<PackDigest> pack_of_key(std::string_view key) {
  constexpr std::size_t kDigestAt = std::string_view("packs/ab/").size();
  if (key.size() < kDigestAt + 2 * kDigestBytes) return std::nullopt;
  const auto digest = Digest::from_hex(key.substr(kDigestAt, 2 * kDigestBytes));
  if (!digest || pack_key(PackDigest(*digest)) != key) return std::nullopt;
  return PackDigest(*digest);
}

std::uint64_t next_object_offset(std::uint64_t offset, std::uint64_t bytes) {
  return round_up(offset + bytes, kObjectAlignment);
}

PackBuilder::PackBuilder(Store& store)
    : store_(store), draft_(store.begin_draft()), bytes_(sizeof(fb::PackHead)) {
  const fb::PackHead head = make_head();
  const ByteView bytes = struct_bytes(head);
  draft_->append(std::span(&bytes, 1));
}

std::uint64_t PackBuilder::add(EncodedFrame frame, std::span<const ObjectRecord> objects) {
  VMPACK_ASSERT(frame.object_count == objects.size());
  const std::uint64_t offset = bytes_;
  const auto stored_bytes = static_cast<std::uint32_t>(frame.stored.size());
  bytes_ += stored_bytes;
  waiting_bytes_ += stored_bytes;
  waiting_.push_back(std::move(frame.stored));
  frames_.push_back({std::move(frame), stored_bytes});
  objects_.insert(objects_.end(), objects.begin(), objects.end());
  if (waiting_bytes_ >= kWriteBytes) write_waiting();
  return offset;
}

void PackBuilder::write_waiting() {
  const std::vector<ByteView> parts(waiting_.begin(), waiting_.end());
  draft_->append(parts);
  waiting_.clear();
  waiting_bytes_ = 0;
}

PackDigest PackBuilder::finish() {
  VMPACK_ASSERT(!std::exchange(finished_, true));
  write_waiting();
  std::vector<fb::FrameEntry> frame_entries;
  std::vector<fb::Digest> bases;
  std::uint64_t offset = sizeof(fb::PackHead);
  std::uint32_t first_object = 0;
  for (const auto& [frame, stored_bytes] : frames_) {
    frame_entries.emplace_back(
        to_flatbuffer(frame.digest), offset, stored_bytes, frame.raw_bytes, first_object, frame.object_count,
        static_cast<std::uint8_t>(frame.object_class), static_cast<std::uint8_t>(frame.codec),
        std::uint8_t{0}, static_cast<std::uint8_t>(frame.bases.size()), 0U);
    for (const FrameDigest& base : frame.bases) bases.push_back(to_flatbuffer(base));
    offset += stored_bytes;
    first_object += frame.object_count;
  }
  std::vector<fb::ObjectEntry> object_entries;
  object_entries.reserve(objects_.size());
  for (const ObjectRecord& object : objects_)
    object_entries.emplace_back(to_flatbuffer(object.digest), object.bytes, 0U);

  flatbuffers::FlatBufferBuilder frame_table;
  const auto frames_offset = frame_table.CreateVectorOfStructs(frame_entries);
  const auto bases_offset = bases.empty() ? 0 : frame_table.CreateVectorOfStructs(bases);
  frame_table.Finish(fb::CreateFrameTable(frame_table, frames_offset, bases_offset));
  flatbuffers::FlatBufferBuilder object_table;
  object_table.Finish(
      fb::CreateObjectTable(object_table, object_table.CreateVectorOfStructs(object_entries)));

  const fb::PackHead head = make_head();
  const fb::PackTrailer trailer(bytes_, frame_table.GetSize(), object_table.GetSize(), 0,
                                to_flatbuffer(sha256(buffer_bytes(frame_table))),
                                to_flatbuffer(sha256(buffer_bytes(object_table))), kFormatVersion, 0,
                                kTrailerMagic);
  const std::array<ByteView, 3> end{buffer_bytes(frame_table), buffer_bytes(object_table),
                                    struct_bytes(trailer)};
  draft_->append(end);
  const PackDigest digest = digest_of(head, trailer);
  const std::string key = pack_key(digest);
  is_own_ = draft_->put_if_absent(key);
  if (!is_own_ && !store_.stat(key)) {
    throw Error(ErrorCode::kIo, fmt::format("{}/{} was there, and is gone", store_.location(), key),
                "somebody removed it at the same time: run the command again");
  }
  return digest;
}

PackTables read_pack_tables(Store& store, const PackDigest& pack) {
  const std::string key = pack_key(pack);
  const fb::PackTrailer trailer = read_trailer(store, pack, key);
  const Bytes frame_bytes = read_table(store, key, trailer.frames_bytes(), trailer.frame_table_bytes(),
                                       from_flatbuffer(trailer.frame_table_digest()));
  const Bytes object_bytes =
      read_table(store, key, trailer.frames_bytes() + trailer.frame_table_bytes(),
                 trailer.object_table_bytes(), from_flatbuffer(trailer.object_table_digest()));
  const auto* frame_table = verified_root<fb::FrameTable>(frame_bytes, key);
  const auto* object_table = verified_root<fb::ObjectTable>(object_bytes, key);

  PackTables tables;
  for (const fb::ObjectEntry* entry : structs(object_table->objects())) {
    if (entry->bytes() > limits::kFrameRawBytesMax) throw damaged(key, "an object's entry is out of range");
    tables.objects.push_back({ObjectDigest(from_flatbuffer(entry->digest())), entry->bytes()});
  }
  std::uint64_t offset = sizeof(fb::PackHead);
  const auto bases = structs(frame_table->bases());
  std::size_t next_base = 0;
  for (const fb::FrameEntry* entry : structs(frame_table->frames())) {
    PackFrame frame{FrameDigest(from_flatbuffer(entry->digest())),
                    entry->offset(),
                    entry->stored_bytes(),
                    entry->raw_bytes(),
                    entry->first_object(),
                    entry->object_count(),
                    object_class_from(entry->object_class()).value_or(ObjectClass::kOpaque),
                    {}};
    check_frame(frame, tables, offset, key);
    if (entry->base_count() > bases.size() - next_base)
      throw damaged(key, "a delta frame's bases are missing");
    for (std::size_t i = 0; i < entry->base_count(); ++i) {
      frame.bases.emplace_back(from_flatbuffer(*bases[next_base++]));
    }
    offset += frame.stored_bytes;
    tables.frames.push_back(std::move(frame));
  }
  if (offset != trailer.frames_bytes()) throw damaged(key, "its frames do not fill it");
  return tables;
}

FramePtr read_frame(Store& store, const FrameDigest& digest, const FrameLocation& location,
                    const BaseReader& read_base) {
  const std::string key = pack_key(location.pack);
  if (location.stored_bytes > limits::kFrameStoredBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("a frame in {} is over the limit", key));
  }
  const std::string where = fmt::format("{} (frame at offset {})", key, location.offset);
  // Two buffers, because a delta frame reads its bases while it is decoded.
  static thread_local std::array<Bytes, 2> buffers;
  Bytes& stored = buffers[read_base ? 0 : 1];
  stored.resize(location.stored_bytes);
  store.get_range(key, location.offset, stored);
  try {
    return decode_frame(stored, digest, where, read_base);
  } catch (const Error&) {
    if (!store.distrust(key, location.offset, location.stored_bytes)) throw;
  }
  store.get_range(key, location.offset, stored);
  return decode_frame(stored, digest, where, read_base);
}

void check_objects(const DecodedFrame& frame, std::uint32_t raw_bytes, std::span<const ObjectRecord> objects,
                   std::string_view where) {
  if (frame.bytes.size() != raw_bytes) throw damaged(where, "a frame is not as long as its entry says");
  std::vector<ByteView> views;
  std::uint64_t at = 0;
  for (const ObjectRecord& object : objects) {
    if (at + object.bytes > frame.bytes.size()) throw damaged(where, "a frame is shorter than its objects");
    views.push_back(ByteView(frame.bytes).subspan(at, object.bytes));
    at = next_object_offset(at, object.bytes);
  }
  std::vector<Digest> digests(views.size());
  sha256_each(views, digests);
  for (std::size_t i = 0; i < views.size(); ++i) {
    if (digests[i] != objects[i].digest) {
      throw damaged(where, fmt::format("object {} does not match its SHA-256", objects[i].digest.hex()));
    }
  }
}

}  // namespace vmpack
