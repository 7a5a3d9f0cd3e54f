// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/places.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "formats/places_generated.h"
#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/snapshot/places_update.hpp"

namespace vmpack {
namespace {

constexpr std::uint32_t kBlockPlaces = 512;
/// A file that seems damaged may have been replaced while it was read. That is rare: so often is damage.
constexpr int kTriesMax = 4;
static_assert(sizeof(fb::Place) == 24);

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "restore the file from a copy of the repository, or ingest the image again"};
}

}  // namespace

std::string places_key(const SnapshotDigest& snapshot) { return fmt::format("places/{}", snapshot.hex()); }

namespace {

/// A place as the file tells it.
struct PrefixPlace {
  std::uint64_t prefix;
  FrameLocation location;
};

/// What a file is made of.
struct Contents {
  std::vector<PrefixPlace> places;
  std::optional<std::vector<std::uint64_t>> bases;
  std::uint64_t known_used = 0;

  void add(std::span<const FramePlace> more) {
    for (const FramePlace& place : more) {
      places.push_back({place.frame.prefix(), place.location});
      if (place.is_base && bases) bases->push_back(place.frame.prefix());
    }
  }
};

void sort_and_drop_duplicates(std::vector<std::uint64_t>& numbers) {
  std::ranges::sort(numbers);
  const auto duplicates = std::ranges::unique(numbers);
  numbers.erase(duplicates.begin(), duplicates.end());
}

Bytes encode_contents(const SnapshotDigest& snapshot, Contents contents) {
  std::vector<PrefixPlace>& places = contents.places;
  const auto order = [](const PrefixPlace& place) {
    return std::tuple(place.prefix, place.location.pack.bytes, place.location.offset);
  };
  std::ranges::sort(places, {}, order);
  const auto duplicates = std::ranges::unique(places, {}, order);
  places.erase(duplicates.begin(), duplicates.end());

  std::vector<PackDigest> packs;
  packs.reserve(places.size());
  for (const PrefixPlace& place : places) packs.push_back(place.location.pack);
  std::ranges::sort(packs);
  const auto same = std::ranges::unique(packs);
  packs.erase(same.begin(), same.end());

  std::vector<fb::Place> body;
  body.reserve(places.size());
  for (const PrefixPlace& place : places) {
    const auto pack = std::ranges::lower_bound(packs, place.location.pack) - packs.begin();
    body.emplace_back(place.prefix, place.location.offset, place.location.stored_bytes,
                      static_cast<std::uint32_t>(pack));
  }
  std::vector<std::uint64_t> checksums;
  std::vector<std::uint64_t> fences;
  for (std::size_t at = 0; at < body.size(); at += kBlockPlaces) {
    const auto block = std::span(body).subspan(at, std::min<std::size_t>(kBlockPlaces, body.size() - at));
    checksums.push_back(xxh3(std::as_bytes(block)));
    fences.push_back(block.front().prefix());
  }
  std::vector<fb::Digest> pack_structs;
  pack_structs.reserve(packs.size());
  for (const PackDigest& pack : packs) pack_structs.push_back(to_flatbuffer(pack));

  flatbuffers::FlatBufferBuilder builder;
  const auto packs_offset = builder.CreateVectorOfStructs(pack_structs);
  const auto checksums_offset = builder.CreateVector(checksums);
  const auto fences_offset = builder.CreateVector(fences);
  flatbuffers::Offset<flatbuffers::Vector<std::uint64_t>> bases_offset;
  if (contents.bases) {
    sort_and_drop_duplicates(*contents.bases);
    bases_offset = builder.CreateVector(*contents.bases);
  }
  const fb::Digest snapshot_struct = to_flatbuffer(snapshot);
  builder.Finish(fb::CreatePlacesHeader(builder, &snapshot_struct, packs_offset, body.size(), kBlockPlaces,
                                        checksums_offset, fences_offset, bases_offset, contents.known_used));
  const ByteView body_bytes = std::as_bytes(std::span(body));
  Bytes bytes = make_envelope(FileKind::kPlaces, buffer_bytes(builder), body_bytes.size());
  append(bytes, body_bytes);
  return bytes;
}

/// What `known` has. Whoever replaces the file must see to it that it stays the same meanwhile.
Contents contents_of(const Places& known) {
  Contents contents;
  contents.bases = known.bases();
  contents.known_used = known.known_used();
  known.for_each([&](std::uint64_t prefix, const FrameLocation& location) {
    contents.places.push_back({prefix, location});
  });
  return contents;
}

}  // namespace

Bytes encode_places(const SnapshotDigest& snapshot, std::span<const FramePlace> places) {
  Contents contents;
  contents.bases.emplace();
  contents.add(places);
  contents.known_used = places.size();
  return encode_contents(snapshot, std::move(contents));
}

Bytes extend_places(const SnapshotDigest& snapshot, const Places& known, std::span<const FramePlace> more) {
  Contents contents = contents_of(known);
  // What is known may be newer: frames move.
  std::vector<FramePlace> unknown;
  std::ranges::copy_if(more, std::back_inserter(unknown),
                       [&](const FramePlace& place) { return known.find(place.frame).empty(); });
  contents.add(unknown);
  for (const FramePlace& place : more) {
    if (place.is_base && contents.bases) contents.bases->push_back(place.frame.prefix());
  }
  return encode_contents(snapshot, std::move(contents));
}

Bytes rewrite_places(const Places& known, const PlaceNow& place_now, std::vector<std::uint64_t> bases,
                     std::span<const FramePlace> more) {
  Contents contents;
  contents.bases = std::move(bases);
  known.for_each([&](std::uint64_t prefix, const FrameLocation& location) {
    if (const auto now = place_now(prefix, location)) contents.places.push_back({prefix, *now});
  });
  contents.add(more);
  contents.known_used = contents.places.size();
  return encode_contents(known.snapshot(), std::move(contents));
}

Bytes move_places(const SnapshotDigest& snapshot, const Places& known,
                  const std::function<std::optional<FrameLocation>(std::uint64_t prefix,
                                                                   const FrameLocation& location)>& now,
                  std::span<const FramePlace> more) {
  Contents contents = contents_of(known);
  std::vector<PrefixPlace> places;
  for (const PrefixPlace& place : std::exchange(contents.places, {})) {
    if (const auto location = now(place.prefix, place.location)) places.push_back({place.prefix, *location});
  }
  contents.places = std::move(places);
  contents.add(more);
  return encode_contents(snapshot, std::move(contents));
}

/// One version of the file: its header, and the blocks that were read.
class Places::File {
 public:
  File(Store& store, const std::string& key, const SnapshotDigest& snapshot) : store_(store), key_(key) {
    const auto stat = store.stat(key);
    if (!stat) throw Error(ErrorCode::kNotFound, fmt::format("{}/{} is missing", store.location(), key));
    version_ = stat->version;
    Bytes start(std::min<std::uint64_t>(stat->bytes, kEnvelopeBytes));
    store.get_range(key, 0, start);
    const Envelope envelope = parse_envelope(start, FileKind::kPlaces, key, limits::kPlacesHeaderBytesMax);
    if (stat->bytes != body_offset(envelope) + envelope.body_bytes) throw damaged(key, "its length is wrong");
    Bytes header(body_offset(envelope) - kEnvelopeBytes);
    store.get_range(key, kEnvelopeBytes, header);
    if (!is_zero(ByteView(header).subspan(envelope.header_bytes)))
      throw damaged(key, "its padding is not zero");
    header.resize(envelope.header_bytes);
    check_header(envelope, header, key);
    read_header(envelope, *verified_root<fb::PlacesHeader>(header, key), snapshot);
  }

  [[nodiscard]] const StoreVersion& version() const { return version_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] const std::vector<PackDigest>& packs() const { return packs_; }
  [[nodiscard]] std::uint64_t known_used() const { return known_used_; }
  [[nodiscard]] const std::optional<std::vector<std::uint64_t>>& bases() const { return bases_; }

  [[nodiscard]] std::vector<FrameLocation> find(const FrameDigest& frame) const {
    const std::uint64_t prefix = frame.prefix();
    std::vector<FrameLocation> found;
    // The first place with this prefix may lie in the block before the first fence that is not below it.
    auto number = static_cast<std::size_t>(std::ranges::lower_bound(fences_, prefix) - fences_.begin());
    if (number > 0) --number;
    for (; number < fences_.size() && fences_[number] <= prefix; ++number) {
      const auto entries = block(number);
      for (const Entry& entry : std::ranges::equal_range(*entries, prefix, {}, &Entry::prefix))
        found.push_back(location(entry));
    }
    return found;
  }

  [[nodiscard]] std::vector<PrefixPlace> all() const {
    std::vector<PrefixPlace> places;
    places.reserve(count_);
    for (std::size_t number = 0; number < checksums_.size(); ++number) {
      for (const Entry& entry : *block(number)) places.push_back({entry.prefix, location(entry)});
    }
    return places;
  }

 private:
  struct Entry {
    std::uint64_t prefix;
    std::uint64_t offset;
    std::uint32_t stored_bytes;
    std::uint32_t pack;
  };
  using Block = std::vector<Entry>;

  [[nodiscard]] FrameLocation location(const Entry& entry) const {
    return {packs_[entry.pack], entry.offset, entry.stored_bytes};
  }

  void read_header(const Envelope& envelope, const fb::PlacesHeader& stored, const SnapshotDigest& snapshot) {
    if (from_flatbuffer(*stored.snapshot()) != snapshot)
      throw damaged(key_, "it belongs to another snapshot");
    body_offset_ = body_offset(envelope);
    count_ = stored.place_count();
    block_places_ = stored.block_places();
    for (const fb::Digest* pack : structs(stored.packs())) packs_.emplace_back(from_flatbuffer(*pack));
    for (const std::uint64_t checksum : structs(stored.block_checksums())) checksums_.push_back(checksum);
    for (const std::uint64_t fence : structs(stored.fences())) fences_.push_back(fence);
    known_used_ = stored.known_used();
    if (stored.bases() != nullptr) bases_.emplace(stored.bases()->begin(), stored.bases()->end());
    if (block_places_ == 0 || block_places_ > 65536 || envelope.body_bytes / sizeof(fb::Place) != count_ ||
        envelope.body_bytes % sizeof(fb::Place) != 0 ||
        checksums_.size() != divide_up(count_, block_places_) || fences_.size() != checksums_.size()) {
      throw damaged(key_, "its counts do not fit");
    }
  }

  [[nodiscard]] std::shared_ptr<const Block> block(std::size_t number) const {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = blocks_.find(number); found != blocks_.end()) return found->second;
    }
    const std::uint64_t first = std::uint64_t{number} * block_places_;
    const std::size_t entries = std::min<std::uint64_t>(block_places_, count_ - first);
    std::vector<std::byte> bytes(entries * sizeof(fb::Place));
    store_.get_range(key_, body_offset_ + first * sizeof(fb::Place), bytes);
    if (xxh3(bytes) != checksums_[number])
      throw damaged(key_, fmt::format("the checksum of block {} is wrong", number));
    auto block = std::make_shared<Block>();
    block->reserve(entries);
    for (std::size_t i = 0; i < entries; ++i) {
      const auto place = read_struct<fb::Place>(ByteView(bytes).subspan(i * sizeof(fb::Place)));
      if (place.pack() >= packs_.size()) throw damaged(key_, "a place names a pack that is not listed");
      block->push_back({place.prefix(), place.offset(), place.stored_bytes(), place.pack()});
    }
    const std::lock_guard lock(mutex_);
    return blocks_.try_emplace(number, std::move(block)).first->second;
  }

  Store& store_;
  std::string key_;
  StoreVersion version_;
  std::uint64_t body_offset_ = 0;
  std::uint64_t count_ = 0;
  std::uint32_t block_places_ = 0;
  std::vector<PackDigest> packs_;
  std::vector<std::uint64_t> checksums_;
  std::vector<std::uint64_t> fences_;
  std::uint64_t known_used_ = 0;
  std::optional<std::vector<std::uint64_t>> bases_;

  mutable std::mutex mutex_;
  mutable std::unordered_map<std::size_t, std::shared_ptr<const Block>> blocks_;  // guarded by mutex_
};

Places::Places(Store& store, const SnapshotDigest& snapshot)
    : store_(store), snapshot_(snapshot), key_(places_key(snapshot)) {}
Places::~Places() = default;

std::unique_ptr<Places> Places::open(Store& store, const SnapshotDigest& snapshot) {
  std::unique_ptr<Places> places(new Places(store, snapshot));
  static_cast<void>(places->file());
  return places;
}

std::optional<StoreVersion> Places::stored_version() const {
  const auto stat = store_.stat(key_);
  return stat ? std::optional(stat->version) : std::nullopt;
}

/// Opens it when there is none yet.
std::shared_ptr<const Places::File> Places::file() const {
  {
    const std::lock_guard lock(mutex_);
    if (file_) return file_;
  }
  for (int tries = 1;; ++tries) {
    const auto version = stored_version();
    try {
      auto opened = std::make_shared<const File>(store_, key_, snapshot_);
      const std::lock_guard lock(mutex_);
      file_ = opened;
      return opened;
    } catch (const Error&) {
      if (tries == kTriesMax || stored_version() == version) throw;
    }
  }
}

bool Places::forget_if_replaced(const std::shared_ptr<const File>& opened) const {
  const bool replaced = stored_version() != opened->version();
  const std::lock_guard lock(mutex_);
  if (file_ != opened) return true;  // another thread was faster
  if (replaced) file_.reset();
  return replaced;
}

template <typename Use>
auto Places::with_file(const Use& use) const {
  for (int tries = 1;; ++tries) {
    const std::shared_ptr<const File> opened = file();
    try {
      return use(*opened);
    } catch (const Error&) {
      if (tries == kTriesMax || !forget_if_replaced(opened)) throw;
    }
  }
}

std::uint64_t Places::count() const {
  return with_file([](const File& file) { return file.count(); });
}

std::uint64_t Places::known_used() const {
  return with_file([](const File& file) { return file.known_used(); });
}

std::optional<std::vector<std::uint64_t>> Places::bases() const {
  return with_file([](const File& file) { return file.bases(); });
}

std::vector<PackDigest> Places::packs() const {
  return with_file([](const File& file) { return file.packs(); });
}

std::vector<FrameLocation> Places::find(const FrameDigest& frame) const {
  return with_file([&](const File& file) { return file.find(frame); });
}

void Places::for_each(
    const std::function<void(std::uint64_t prefix, const FrameLocation& location)>& each) const {
  for (const PrefixPlace& place : with_file([](const File& file) { return file.all(); }))
    each(place.prefix, place.location);
}

/// A frame that is not where it was may have been moved: then the file was replaced.
FramePtr Places::read(const FrameDigest& frame, const BaseReader& read_base) const {
  return with_file([&](const File& file) {
    const std::vector<FrameLocation> locations = file.find(frame);
    for (std::size_t i = 0; i < locations.size(); ++i) {
      try {
        return read_frame(store_, frame, locations[i], read_base);
      } catch (const Error&) {
        // Another frame may begin with the same eight bytes, and a copy may lie elsewhere: the last one's
        // error counts.
        if (i + 1 == locations.size()) throw;
      }
    }
    throw damaged(key_, fmt::format("it has no place for the frame {}", frame.hex()));
  });
}

FramePtr read_placed_base(const Places& places, const FrameDigest& base) { return places.read(base, {}); }

FramePtr read_placed_frame(const Places& places, const FrameDigest& frame, const BaseReader& read_base) {
  if (read_base) return places.read(frame, read_base);
  return places.read(frame, [&](const FrameDigest& base) { return read_placed_base(places, base); });
}

namespace {

/// Whether all of `places` have a place in the file, in packs that are there. Otherwise with `version`, which
/// one to replace; nullopt when there is none.
bool has_places(Store& store, const SnapshotDigest& snapshot, std::span<const FramePlace> places,
                std::optional<StoreVersion>& version) {
  const auto stat = store.stat(places_key(snapshot));
  version = stat ? std::optional(stat->version) : std::nullopt;
  if (!stat) return false;
  try {
    const auto known = Places::open(store, snapshot);
    for (const FramePlace& place : places) {
      if (known->find(place.frame).empty()) return false;
    }
    for (const PackDigest& pack : known->packs()) {
      if (!store.stat(pack_key(pack))) return false;
    }
    return true;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kIo) throw;
    return false;  // damaged, or gone: to be written anew
  }
}

}  // namespace

void put_places(Store& store, const SnapshotDigest& snapshot, std::span<const FramePlace> places) {
  std::optional<StoreVersion> version;
  while (!has_places(store, snapshot, places, version)) {
    if (store.replace_if_version(places_key(snapshot), encode_places(snapshot, places), version)) return;
  }
}

}  // namespace vmpack
