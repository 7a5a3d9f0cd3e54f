// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "formats/object_index_generated.h"
#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/repo/object_filter.hpp"

namespace vmpack {
namespace {

constexpr std::uint32_t kBlockBytes = 48 * 256;
constexpr std::uint32_t kFenceObjects = 256;
static_assert(sizeof(fb::IndexFrame) == 48 && sizeof(fb::IndexObject) == 48);

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "remove the file: its objects are then packed again when they next appear"};
}

/// A whole value of a store: mapped when it is a local file, otherwise read.
class WholeValue {
 public:
  WholeValue(Store& store, const std::string& key) {
    const std::string path = store.local_path(key);
    const auto stat = store.stat(key);
    if (!stat) throw Error(ErrorCode::kNotFound, fmt::format("{} is missing", key));
    if (stat->bytes > limits::kIndexFileBytesMax)
      throw Error(ErrorCode::kLimit, fmt::format("{} is over the limit", key));
    if (path.empty() || stat->bytes == 0) {
      owned_ = store.get(key, limits::kIndexFileBytesMax);
      view_ = owned_;
      return;
    }
    const auto file = FileDescriptor::open(path, O_RDONLY);
    mapping_ = ::mmap(nullptr, stat->bytes, PROT_READ, MAP_SHARED, file.get(), 0);
    if (mapping_ == MAP_FAILED) throw system_error(errno, "cannot map", path);
    view_ = {static_cast<const std::byte*>(mapping_), stat->bytes};
  }
  ~WholeValue() {
    if (mapping_ != MAP_FAILED) ::munmap(mapping_, view_.size());
  }
  WholeValue(const WholeValue&) = delete;
  WholeValue& operator=(const WholeValue&) = delete;

  [[nodiscard]] ByteView view() const { return view_; }

 private:
  void* mapping_ = MAP_FAILED;
  Bytes owned_;
  ByteView view_;
};

}  // namespace

std::string index_key(const Digest& index) { return fmt::format("index/{}.idx", index.hex()); }

void ObjectIndexBuilder::add_pack(const PackDigest& pack) { packs_.push_back(pack); }

void ObjectIndexBuilder::add_frame(const FrameDigest& frame, std::uint64_t offset, std::uint32_t stored_bytes,
                                   std::span<const ObjectRecord> objects, std::span<const FramePlace> bases) {
  VMPACK_ASSERT(!packs_.empty());
  const auto number = static_cast<std::uint32_t>(frames_.size());
  frames_.push_back({frame, offset, stored_bytes, static_cast<std::uint32_t>(packs_.size() - 1)});
  for (const FramePlace& base : bases) bases_.push_back({number, base});
  std::uint64_t at = 0;
  for (const ObjectRecord& object : objects) {
    objects_.push_back({object.digest, number, static_cast<std::uint32_t>(at), object.bytes});
    at = next_object_offset(at, object.bytes);
  }
}

void ObjectIndexBuilder::write(Store& store) {
  std::ranges::sort(objects_, {},
                    [](const Object& object) { return std::pair(object.digest.bytes, object.frame); });
  const auto duplicates =
      std::ranges::unique(objects_, {}, [](const Object& object) { return object.digest.bytes; });
  objects_.erase(duplicates.begin(), duplicates.end());

  Bytes body;
  body.reserve(frames_.size() * sizeof(fb::IndexFrame) + objects_.size() * sizeof(fb::IndexObject));
  for (const Frame& frame : frames_) {
    append(body, struct_bytes(fb::IndexFrame(to_flatbuffer(frame.digest), frame.offset, frame.stored_bytes,
                                             frame.pack)));
  }
  std::vector<std::uint64_t> filter = make_filter(objects_.size());
  std::vector<std::uint64_t> fences;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    const Object& object = objects_[i];
    append(body, struct_bytes(fb::IndexObject(to_flatbuffer(object.digest), object.frame, object.offset,
                                              object.bytes, 0)));
    filter_insert(filter, object.digest);
    if (i % kFenceObjects == 0) fences.push_back(object.digest.prefix());
  }
  std::vector<std::uint64_t> checksums;
  for (std::size_t at = 0; at < body.size(); at += kBlockBytes) {
    checksums.push_back(
        xxh3(ByteView(body).subspan(at, std::min<std::size_t>(kBlockBytes, body.size() - at))));
  }
  std::vector<fb::Digest> packs;
  packs.reserve(packs_.size());
  for (const PackDigest& pack : packs_) packs.push_back(to_flatbuffer(pack));
  std::vector<fb::IndexBase> bases;
  bases.reserve(bases_.size());
  for (const Base& base : bases_) {
    bases.emplace_back(to_flatbuffer(base.place.frame), to_flatbuffer(base.place.location.pack),
                       base.place.location.offset, base.place.location.stored_bytes, base.frame);
  }
  flatbuffers::FlatBufferBuilder builder;
  const auto bases_offset = bases.empty() ? 0 : builder.CreateVectorOfStructs(bases);
  const auto packs_offset = builder.CreateVectorOfStructs(packs);
  const auto checksums_offset = builder.CreateVector(checksums);
  const auto fences_offset = builder.CreateVector(fences);
  const auto filter_offset = builder.CreateVector(filter);
  builder.Finish(fb::CreateObjectIndexHeader(builder, packs_offset, frames_.size(), objects_.size(),
                                             kBlockBytes, checksums_offset, fences_offset, kFenceObjects,
                                             filter_offset, bases_offset));
  const Bytes start = make_envelope(FileKind::kObjectIndex, buffer_bytes(builder), body.size());
  Sha256 hasher;
  hasher.update(start);
  hasher.update(body);
  const std::array<ByteView, 2> parts = {start, body};
  store.put_if_absent(index_key(hasher.finish()), parts);
}

struct ObjectIndexFile::State {
  State(Store& store, const std::string& index_file_key)
      : key(index_file_key), value(store, index_file_key) {}

  std::string key;
  WholeValue value;
  const fb::ObjectIndexHeader* header = nullptr;
  Bytes header_copy;  // aligned
  ByteView body;
  std::vector<PackDigest> packs;
  std::vector<fb::IndexBase> bases;  // sorted by frame
  std::span<const std::uint64_t> filter;
  std::unique_ptr<std::atomic<bool>[]> block_checked;

  /// `bytes` of the body at `offset`, after the checksums of the blocks that hold them.
  ByteView checked(std::uint64_t offset, std::uint64_t bytes) const {
    const std::uint64_t block_bytes = header->block_bytes();
    for (std::uint64_t block = offset / block_bytes; block * block_bytes < offset + bytes; ++block) {
      if (block_checked[block].load(std::memory_order_relaxed)) continue;
      const std::uint64_t start = block * block_bytes;
      const ByteView view = body.subspan(start, std::min(block_bytes, body.size() - start));
      if (xxh3(view) != header->block_checksums()->Get(static_cast<flatbuffers::uoffset_t>(block))) {
        throw damaged(key, fmt::format("the checksum of block {} is wrong", block));
      }
      block_checked[block].store(true, std::memory_order_relaxed);
    }
    return body.subspan(offset, bytes);
  }

  [[nodiscard]] fb::IndexObject object(std::uint64_t number) const {
    const std::uint64_t offset =
        header->frame_count() * sizeof(fb::IndexFrame) + number * sizeof(fb::IndexObject);
    return read_struct<fb::IndexObject>(checked(offset, sizeof(fb::IndexObject)));
  }

  [[nodiscard]] ObjectLocation location(const fb::IndexObject& object_entry) const {
    if (object_entry.frame() >= header->frame_count())
      throw damaged(key, "an object names a frame that is not listed");
    const auto frame = read_struct<fb::IndexFrame>(
        checked(std::uint64_t{object_entry.frame()} * sizeof(fb::IndexFrame), sizeof(fb::IndexFrame)));
    if (frame.pack() >= packs.size() || object_entry.offset() % kObjectAlignment != 0 ||
        std::uint64_t{object_entry.offset()} + object_entry.bytes() > limits::kFrameRawBytesMax) {
      throw damaged(key, "an entry is out of range");
    }
    return {FrameDigest(from_flatbuffer(frame.digest())),
            {packs[frame.pack()], frame.offset(), frame.stored_bytes()},
            object_entry.offset(),
            object_entry.bytes(),
            bases_of(object_entry.frame())};
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
};

ObjectIndexFile::ObjectIndexFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ObjectIndexFile::~ObjectIndexFile() = default;

std::unique_ptr<ObjectIndexFile> ObjectIndexFile::open(Store& store, const std::string& key) {
  auto state = std::make_unique<State>(store, key);
  const ByteView file = state->value.view();
  const Envelope envelope = parse_envelope(file, FileKind::kObjectIndex, key, limits::kIndexHeaderBytesMax);
  if (file.size() < body_offset(envelope) || file.size() - body_offset(envelope) != envelope.body_bytes) {
    throw damaged(key, "its length is wrong");
  }
  const ByteView header = file.subspan(kEnvelopeBytes, envelope.header_bytes);
  check_header(envelope, header, key);
  state->header_copy.assign(header.begin(), header.end());
  state->header = verified_root<fb::ObjectIndexHeader>(state->header_copy, key);
  state->body = file.subspan(body_offset(envelope));
  const fb::ObjectIndexHeader& stored = *state->header;
  const std::uint64_t records_max = limits::kIndexFileBytesMax / sizeof(fb::IndexObject);
  const bool fits =
      stored.frame_count() <= records_max && stored.object_count() <= records_max &&
      (stored.frame_count() + stored.object_count()) * sizeof(fb::IndexObject) == state->body.size() &&
      stored.block_bytes() > 0 && stored.fence_objects() > 0 &&
      structs(stored.block_checksums()).size() == divide_up(state->body.size(), stored.block_bytes()) &&
      structs(stored.fences()).size() == divide_up(stored.object_count(), stored.fence_objects());
  if (!fits) throw damaged(key, "its counts do not fit");
  for (const fb::Digest* pack : structs(stored.packs())) state->packs.emplace_back(from_flatbuffer(*pack));
  for (const fb::IndexBase* base : structs(stored.bases())) state->bases.push_back(*base);
  if (!std::ranges::is_sorted(state->bases, {}, &fb::IndexBase::frame))
    throw damaged(key, "its delta frames are out of order");
  if (stored.filter() != nullptr) state->filter = {stored.filter()->data(), stored.filter()->size()};
  state->block_checked = std::make_unique<std::atomic<bool>[]>(structs(stored.block_checksums()).size());
  return std::unique_ptr<ObjectIndexFile>(new ObjectIndexFile(std::move(state)));
}

std::uint64_t ObjectIndexFile::object_count() const { return state_->header->object_count(); }

std::optional<ObjectLocation> ObjectIndexFile::find(const ObjectDigest& object) const {
  if (!filter_may_contain(state_->filter, object)) return std::nullopt;
  const fb::ObjectIndexHeader& header = *state_->header;
  if (header.object_count() == 0) return std::nullopt;
  const auto fences = std::span(header.fences()->data(), header.fences()->size());
  // Digests with this prefix may begin before the first fence that is not below it.
  auto fence = static_cast<std::uint64_t>(std::ranges::lower_bound(fences, object.prefix()) - fences.begin());
  if (fence > 0) --fence;
  std::uint64_t low = fence * header.fence_objects();
  std::uint64_t high = header.object_count();
  const auto beyond =
      static_cast<std::uint64_t>(std::ranges::upper_bound(fences, object.prefix()) - fences.begin());
  high = std::min(high, beyond * header.fence_objects());
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

Digest ObjectIndexFile::digest() const { return sha256(state_->value.view()); }

std::unique_ptr<ObjectIndex> ObjectIndex::open(Store& store) {
  auto index = std::make_unique<ObjectIndex>();
  std::vector<std::string> keys;
  store.list("index/", [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  for (const std::string& key : keys) index->files_.push_back(ObjectIndexFile::open(store, key));
  return index;
}

std::optional<ObjectLocation> ObjectIndex::find(const ObjectDigest& object) const {
  for (const auto& file : files_) {
    if (auto location = file->find(object)) return location;
  }
  return std::nullopt;
}

std::uint64_t ObjectIndex::object_count() const {
  std::uint64_t count = 0;
  for (const auto& file : files_) count += file->object_count();
  return count;
}

}  // namespace vmpack
