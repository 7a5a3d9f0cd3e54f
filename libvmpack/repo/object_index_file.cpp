// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <span>

#include "formats/object_index_generated.h"
#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/repo/index_cache.hpp"

namespace vmpack {
namespace {

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "remove the file: its objects are then packed again when they next appear"};
}

std::span<const std::uint64_t> numbers(const flatbuffers::Vector<std::uint64_t>* vector) {
  if (vector == nullptr) return {};
  return {vector->data(), vector->size()};
}

}  // namespace

std::string index_key(const Digest& index) { return fmt::format("index/{}.idx", index.hex()); }

std::vector<std::string> list_index_files(Store& store) {
  std::vector<std::string> keys;
  store.list("index/", [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  return keys;
}

struct ObjectIndexFile::State {
  std::string name;
  MappedFile file;
  // What the header says, taken out of it once: the file may be changed under us.
  std::uint64_t frame_count = 0;
  std::uint64_t object_count = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t fence_objects = 0;
  std::span<const std::uint64_t> block_checksums;
  std::uint64_t body_start = 0;
  ByteView body;
  std::vector<PackDigest> packs;
  std::vector<fb::IndexBase> bases;  // sorted by frame
  ObjectFilter filter;
  std::span<const std::uint64_t> fences;
  std::unique_ptr<std::atomic<bool>[]> block_checked;

  /// `bytes` of the body at `offset`, after the checksums of the blocks that hold them.
  ByteView checked(std::uint64_t offset, std::uint64_t bytes) const {
    for (std::uint64_t block = offset / block_bytes; block * block_bytes < offset + bytes; ++block) {
      if (block_checked[block].load(std::memory_order_relaxed)) continue;
      const std::uint64_t start = block * block_bytes;
      const ByteView view = body.subspan(start, std::min(block_bytes, body.size() - start));
      if (xxh3(view) != block_checksums[block]) {
        throw damaged(name, fmt::format("the checksum of block {} is wrong", block));
      }
      block_checked[block].store(true, std::memory_order_relaxed);
    }
    return body.subspan(offset, bytes);
  }

  [[nodiscard]] fb::IndexObject object(std::uint64_t number) const {
    const std::uint64_t offset = frame_count * sizeof(fb::IndexFrame) + number * sizeof(fb::IndexObject);
    return read_struct<fb::IndexObject>(checked(offset, sizeof(fb::IndexObject)));
  }

  /// An object's entry, held against the limits and against its file.
  [[nodiscard]] IndexedObject checked_object(const fb::IndexObject& entry) const {
    if (entry.frame() >= frame_count) throw damaged(name, "an object names a frame that is not listed");
    if (entry.offset() % kObjectAlignment != 0 ||
        std::uint64_t{entry.offset()} + entry.bytes() > limits::kFrameRawBytesMax) {
      throw damaged(name, "an entry is out of range");
    }
    return {ObjectDigest(from_flatbuffer(entry.digest())), entry.frame(), entry.offset(), entry.bytes()};
  }

  [[nodiscard]] IndexedFrame frame(std::uint32_t number) const {
    const auto entry = read_struct<fb::IndexFrame>(
        checked(std::uint64_t{number} * sizeof(fb::IndexFrame), sizeof(fb::IndexFrame)));
    if (entry.pack() >= packs.size()) throw damaged(name, "an entry is out of range");
    return {{FrameDigest(from_flatbuffer(entry.digest())),
             {packs[entry.pack()], entry.offset(), entry.stored_bytes()}},
            bases_of(number)};
  }

  [[nodiscard]] std::vector<FramePlace> bases_of(std::uint32_t frame) const {
    std::vector<FramePlace> found;
    const auto first = std::ranges::lower_bound(bases, frame, {}, &fb::IndexBase::frame);
    for (auto base = first; base != bases.end() && base->frame() == frame; ++base) {
      found.push_back({FrameDigest(from_flatbuffer(base->digest())),
                       {PackDigest(from_flatbuffer(base->pack())), base->offset(), base->stored_bytes()}});
    }
    return found;
  }

  [[nodiscard]] ObjectLocation location(const fb::IndexObject& entry) const {
    const IndexedObject listed = checked_object(entry);
    IndexedFrame holder = frame(listed.frame);
    return {holder.place.frame, holder.place.location, listed.offset, listed.bytes, std::move(holder.bases)};
  }

  /// Takes over what the header says once it is known to fit the body.
  void read_header() {
    const ByteView bytes = file.view();
    const Envelope envelope =
        parse_envelope(bytes, FileKind::kObjectIndex, name, limits::kIndexHeaderBytesMax);
    body_start = body_offset(envelope);
    if (bytes.size() < body_start || bytes.size() - body_start != envelope.body_bytes) {
      throw damaged(name, "its length is wrong");
    }
    const ByteView header_bytes = bytes.subspan(kEnvelopeBytes, envelope.header_bytes);
    check_header(envelope, header_bytes, name);
    const fb::ObjectIndexHeader& stored = *verified_root<fb::ObjectIndexHeader>(header_bytes, name);
    body = bytes.subspan(body_start);
    frame_count = stored.frame_count();
    object_count = stored.object_count();
    block_bytes = stored.block_bytes();
    fence_objects = stored.fence_objects();
    block_checksums = numbers(stored.block_checksums());
    fences = numbers(stored.fences());
    filter = ObjectFilter(numbers(stored.filter()));
    const std::uint64_t records_max = limits::kIndexFileBytesMax / sizeof(fb::IndexObject);
    const bool fits = frame_count <= records_max && object_count <= records_max &&
                      (frame_count + object_count) * sizeof(fb::IndexObject) == body.size() &&
                      block_bytes > 0 && fence_objects > 0 &&
                      block_checksums.size() == divide_up(body.size(), block_bytes) &&
                      fences.size() == divide_up(object_count, fence_objects);
    if (!fits) throw damaged(name, "its counts do not fit");
    for (const fb::Digest* pack : structs(stored.packs())) packs.emplace_back(from_flatbuffer(*pack));
    for (const fb::IndexBase* base : structs(stored.bases())) bases.push_back(*base);
    if (!std::ranges::is_sorted(bases, {}, &fb::IndexBase::frame))
      throw damaged(name, "its delta frames are out of order");
    block_checked = std::make_unique<std::atomic<bool>[]>(block_checksums.size());
  }
};

ObjectIndexFile::ObjectIndexFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ObjectIndexFile::~ObjectIndexFile() = default;

std::unique_ptr<ObjectIndexFile> ObjectIndexFile::open(Store& store, const std::string& key) {
  return open(map_index_file(store, key), key);
}

std::unique_ptr<ObjectIndexFile> ObjectIndexFile::open(MappedFile file, std::string name) {
  auto state = std::make_unique<State>();
  state->name = std::move(name);
  state->file = std::move(file);
  state->read_header();
  return std::unique_ptr<ObjectIndexFile>(new ObjectIndexFile(std::move(state)));
}

std::uint64_t ObjectIndexFile::frame_count() const { return state_->frame_count; }

std::uint64_t ObjectIndexFile::object_count() const { return state_->object_count; }

IndexedFrame ObjectIndexFile::frame(std::uint32_t number) const { return state_->frame(number); }

IndexedObject ObjectIndexFile::object(std::uint64_t number) const {
  return state_->checked_object(state_->object(number));
}

const ObjectFilter& ObjectIndexFile::filter() const { return state_->filter; }

std::optional<ObjectLocation> ObjectIndexFile::find(const ObjectDigest& object) const {
  if (state_->object_count == 0 || !state_->filter.may_contain(FilterKey(object))) return std::nullopt;
  const auto& fences = state_->fences;
  // Digests with this prefix may begin before the first fence that is not below it.
  auto fence = static_cast<std::uint64_t>(std::ranges::lower_bound(fences, object.prefix()) - fences.begin());
  if (fence > 0) --fence;
  std::uint64_t low = fence * state_->fence_objects;
  std::uint64_t high = state_->object_count;
  const auto beyond =
      static_cast<std::uint64_t>(std::ranges::upper_bound(fences, object.prefix()) - fences.begin());
  high = std::min(high, beyond * state_->fence_objects);
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    const fb::IndexObject entry = state_->object(middle);
    const auto order = from_flatbuffer(entry.digest()) <=> static_cast<const Digest&>(object);
    if (order == 0) return state_->location(entry);
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::nullopt;
}

void ObjectIndexFile::for_each(
    const std::function<void(const ObjectDigest&, const ObjectLocation&)>& each) const {
  for (std::uint64_t i = 0; i < object_count(); ++i) {
    const fb::IndexObject entry = state_->object(i);
    each(ObjectDigest(from_flatbuffer(entry.digest())), state_->location(entry));
  }
}

std::uint64_t ObjectIndexFile::body_bytes() const { return state_->body.size(); }

void ObjectIndexFile::release() const noexcept { state_->file.release_from(state_->body_start); }

Digest ObjectIndexFile::digest() const { return sha256(state_->file.view()); }

}  // namespace vmpack
