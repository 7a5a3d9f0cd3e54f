// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index_merge.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/object_index_writer.hpp"

namespace vmpack {
namespace {

/// The inputs are mapped; what was read of them is given back after so many objects.
constexpr std::uint64_t kObjectsKept = 512 * std::uint64_t{1024};

/// A frame where it is now; nullopt when it, or what it stands on, is gone.
std::optional<IndexedFrame> placed(const ObjectIndexFile& file, std::uint32_t number,
                                   const PlaceFrame& place) {
  IndexedFrame frame = file.frame(number);
  const auto move_to_now = [&](FramePlace& old) {
    const auto now = place(old.frame, old.location);
    if (now) old.location = *now;
    return now.has_value();
  };
  if (!move_to_now(frame.place) || !std::ranges::all_of(frame.bases, move_to_now)) return std::nullopt;
  return frame;
}

/// Files whose objects are visited together, in order of digest.
class Merge {
 public:
  /// The next object of each file.
  using Position = std::vector<std::uint64_t>;

  Merge(std::vector<std::unique_ptr<ObjectIndexFile>> files, const PlaceFrame& place) : place_(place) {
    for (auto& file : files) inputs_.push_back({std::move(file), {}, {}});
    for (Input& input : inputs_) find_fates(input);
  }

  [[nodiscard]] Position begin() const { return Position(inputs_.size()); }

  /// Writes a file of up to `objects_max` objects from `position` on, and moves that on. False, with nothing
  /// written, when there are no more.
  bool write_next(Store& store, Position& position, std::uint64_t objects_max, std::vector<Digest>& written) {
    const Position start = position;
    for (Input& input : inputs_) input.numbers.assign(input.fates.size(), kUnused);
    std::uint64_t count = 0;
    position = visit(start, objects_max, [&](std::size_t input, const IndexedObject& object) {
      inputs_[input].numbers[object.frame] = kUsed;
      ++count;
    });
    if (count == 0) return false;
    const IndexContents contents = number_used_frames();
    written.push_back(write_index_file(store, contents, count, [&](const auto& add) {
      static_cast<void>(visit(start, count, [&](std::size_t input, IndexedObject object) {
        object.frame = inputs_[input].numbers[object.frame];
        add(object);
      }));
    }));
    return true;
  }

 private:
  enum class Fate : std::uint8_t { kWhole, kDelta, kGone };
  static constexpr std::uint32_t kUnused = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t kUsed = kUnused - 1;

  struct Input {
    std::unique_ptr<ObjectIndexFile> file;
    std::vector<Fate> fates;             // of each frame
    std::vector<std::uint32_t> numbers;  // of each frame in the file being written
  };

  void find_fates(Input& input) const {
    for (std::uint32_t i = 0; i < input.file->frame_count(); ++i) {
      const auto frame = placed(*input.file, i, place_);
      input.fates.push_back(!frame ? Fate::kGone : frame->bases.empty() ? Fate::kWhole : Fate::kDelta);
    }
    input.file->release();
  }

  /// Calls for each object that stays, from `position` on, up to `count` times, and returns where it is then.
  template <typename Visit>
  Position visit(Position position, std::uint64_t count, Visit each) const {
    std::vector<IndexedObject> heads(inputs_.size());
    std::vector<std::size_t> heap;  // of inputs; the first one has the lowest digest
    const auto is_later = [&](std::size_t a, std::size_t b) {
      return std::tie(heads[a].digest, a) > std::tie(heads[b].digest, b);
    };
    std::uint64_t objects_read = 0;
    // Puts the next object that stays, if there is one, into the heap.
    const auto add_head = [&](std::size_t i) {
      const Input& input = inputs_[i];
      for (; position[i] < input.file->object_count(); ++position[i]) {
        heads[i] = input.file->object(position[i]);
        if (++objects_read % kObjectsKept == 0) release();
        if (input.fates[heads[i].frame] == Fate::kGone) continue;
        heap.push_back(i);
        std::ranges::push_heap(heap, is_later);
        return;
      }
    };
    for (std::size_t i = 0; i < inputs_.size(); ++i) add_head(i);
    while (!heap.empty() && count-- > 0) {
      const ObjectDigest digest = heads[heap.front()].digest;
      std::optional<std::pair<std::size_t, IndexedObject>> best;
      while (!heap.empty() && heads[heap.front()].digest == digest) {
        const std::size_t i = heap.front();
        if (!best || fate_of(i, heads[i]) < fate_of(best->first, best->second)) best.emplace(i, heads[i]);
        std::ranges::pop_heap(heap, is_later);
        heap.pop_back();
        ++position[i];
        add_head(i);
      }
      each(best->first, best->second);
    }
    release();
    return position;
  }

  [[nodiscard]] Fate fate_of(std::size_t input, const IndexedObject& object) const {
    return inputs_[input].fates[object.frame];
  }

  void release() const {
    for (const Input& input : inputs_) input.file->release();
  }

  /// Numbers the frames marked as used, as they lie in the inputs, where frames of a pack lie together.
  IndexContents number_used_frames() {
    IndexContents contents;
    std::unordered_map<PackDigest, std::uint32_t, DigestHash> packs;
    for (Input& input : inputs_) {
      for (std::uint32_t i = 0; i < input.numbers.size(); ++i) {
        if (input.numbers[i] == kUnused) continue;
        const IndexedFrame frame = *placed(*input.file, i, place_);
        const FrameLocation& location = frame.place.location;
        const auto [pack, is_new] =
            packs.try_emplace(location.pack, static_cast<std::uint32_t>(contents.packs.size()));
        if (is_new) contents.packs.push_back(location.pack);
        const auto number = static_cast<std::uint32_t>(contents.frames.size());
        input.numbers[i] = number;
        contents.frames.push_back({frame.place.frame, location.offset, location.stored_bytes, pack->second});
        for (const FramePlace& base : frame.bases) contents.bases.push_back({number, base});
      }
      input.file->release();
    }
    return contents;
  }

  const PlaceFrame& place_;
  std::vector<Input> inputs_;
};

}  // namespace

std::vector<Digest> merge_index_files(Store& store, std::span<const std::string> keys,
                                      const PlaceFrame& place, std::uint64_t objects_max) {
  std::vector<std::string> sorted(keys.begin(), keys.end());
  std::ranges::sort(sorted);
  std::vector<Digest> written;
  std::vector<std::unique_ptr<ObjectIndexFile>> together;
  std::uint64_t objects = 0;
  const auto merge_together = [&] {
    Merge merge(std::move(together), place);
    for (Merge::Position position = merge.begin(); merge.write_next(store, position, objects_max, written);) {
    }
    together.clear();
    objects = 0;
  };
  for (const std::string& key : sorted) {
    auto file = ObjectIndexFile::open(store, key);
    if (objects + file->object_count() > objects_max) merge_together();
    objects += file->object_count();
    together.push_back(std::move(file));
  }
  merge_together();
  std::ranges::sort(written);
  return written;
}

}  // namespace vmpack
