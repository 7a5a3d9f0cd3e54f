// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/frame_mover.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <future>
#include <optional>
#include <unordered_map>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

/// Frames that lie one behind the other are read together, up to this much.
constexpr std::uint64_t kReadBytes = 4 * kMiB;
/// What is read before it is written, while the next such round is read.
constexpr std::uint64_t kRoundBytes = 32 * kMiB;

struct ReadyFrame {
  EncodedFrame frame;
  std::vector<ObjectRecord> objects;
};

/// A run of frames of one pack.
struct Run {
  PackDigest pack;
  bool whole = false;         // every frame of the pack moves
  bool last_of_pack = false;  // of those that move
  std::vector<PackFrame> frames;
  std::vector<std::vector<ObjectRecord>> objects;  // of each frame
  std::vector<ReadyFrame> ready;                   // after it was read

  [[nodiscard]] std::uint64_t bytes() const {
    return frames.empty() ? 0 : frames.back().offset + frames.back().stored_bytes - frames.front().offset;
  }
};

struct PackJob {
  PackDigest pack;
  std::vector<const FrameToMove*> frames;
};

/// In the order in which `frames` meets packs; in each by offset.
std::deque<PackJob> group_by_pack(std::span<const FrameToMove> frames) {
  std::deque<PackJob> jobs;
  std::unordered_map<PackDigest, std::size_t, DigestHash> numbers;
  for (const FrameToMove& frame : frames) {
    const auto [entry, is_new] = numbers.try_emplace(frame.from.pack, jobs.size());
    if (is_new) jobs.push_back({frame.from.pack, {}});
    jobs[entry->second].frames.push_back(&frame);
  }
  for (PackJob& job : jobs) {
    std::ranges::sort(job.frames, {}, [](const FrameToMove* frame) { return frame->from.offset; });
  }
  return jobs;
}

/// Reads and checks the frames, round by round.
class RoundReader {
 public:
  RoundReader(Store& store, std::span<const FrameToMove> frames, const BaseReader& read_base)
      : store_(store), jobs_(group_by_pack(frames)), read_base_(read_base) {}

  /// Empty at the end.
  std::vector<Run> next() {
    std::vector<Run> round;
    std::uint64_t bytes = 0;
    while (bytes < kRoundBytes) {
      if (runs_.empty() && !load_runs()) break;
      bytes += runs_.front().bytes();
      round.push_back(std::move(runs_.front()));
      runs_.pop_front();
    }
    parallel_for(round.size(), kReadsAtOnce, [&](std::size_t i) { read(round[i]); });
    return round;
  }

 private:
  /// Of the next few packs. False when there are none.
  bool load_runs() {
    const std::size_t count = std::min<std::size_t>(kReadsAtOnce, jobs_.size());
    std::vector<PackTables> tables(count);
    parallel_for(count, kReadsAtOnce,
                 [&](std::size_t i) { tables[i] = read_pack_tables(store_, jobs_[i].pack); });
    for (std::size_t i = 0; i < count; ++i) {
      add_runs(jobs_.front(), tables[i]);
      jobs_.pop_front();
    }
    return count > 0;
  }

  void add_runs(const PackJob& job, const PackTables& tables) {
    const bool whole = job.frames.size() == tables.frames.size();
    bool joins = false;
    for (const FrameToMove* frame : job.frames) {
      const auto entry = std::ranges::lower_bound(tables.frames, frame->from.offset, {}, &PackFrame::offset);
      if (entry == tables.frames.end() || entry->offset != frame->from.offset ||
          entry->digest != frame->digest) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("{} in {} has no frame {} at offset {}", pack_key(job.pack),
                                store_.location(), frame->digest.hex(), frame->from.offset),
                    "run 'vmpack verify' there");
      }
      joins = joins && runs_.back().bytes() < kReadBytes &&
              runs_.back().frames.back().offset + runs_.back().frames.back().stored_bytes == entry->offset;
      if (!joins) runs_.push_back({job.pack, whole, false, {}, {}, {}});
      joins = true;
      const auto first = tables.objects.begin() + entry->first_object;
      runs_.back().frames.push_back(*entry);
      runs_.back().objects.emplace_back(first, first + entry->object_count);
    }
    runs_.back().last_of_pack = true;
  }

  void read(Run& run) const {
    Bytes bytes(run.bytes());
    const std::string key = pack_key(run.pack);
    store_.get_range(key, run.frames.front().offset, bytes);
    for (std::size_t i = 0; i < run.frames.size(); ++i) {
      const PackFrame& entry = run.frames[i];
      const ByteView stored =
          ByteView(bytes).subspan(entry.offset - run.frames.front().offset, entry.stored_bytes);
      const std::string where =
          fmt::format("{}/{} (frame at offset {})", store_.location(), key, entry.offset);
      EncodedFrame frame = take_frame(Bytes(stored.begin(), stored.end()), entry.digest, where);
      if (frame.object_count != entry.object_count || frame.bases != entry.bases) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("{} is damaged: its pack's tables tell otherwise", where));
      }
      if (read_base_) {
        check_objects(*decode_taken_frame(frame, where, read_base_), entry.raw_bytes, run.objects[i], where);
      }
      run.ready.push_back({std::move(frame), std::move(run.objects[i])});
    }
  }

  Store& store_;
  std::deque<PackJob> jobs_;
  const BaseReader& read_base_;
  std::deque<Run> runs_;
};

}  // namespace

/// One pack after the other.
class FrameMover::Packing {
 public:
  Packing(Store& store, std::uint64_t bytes_target, const Finished& finished)
      : store_(store), bytes_target_(bytes_target), finished_(finished) {}

  void add(ReadyFrame ready) {
    if (builder_ == nullptr) builder_ = std::make_unique<PackBuilder>(store_);
    MovedFrame moved{ready.frame.digest, 0, static_cast<std::uint32_t>(ready.frame.stored.size()),
                     std::move(ready.objects), ready.frame.bases};
    moved.offset = builder_->add(std::move(ready.frame), moved.objects);
    frames_.push_back(std::move(moved));
    if (bytes_target_ > 0 && builder_->bytes() >= bytes_target_) finish();
  }

  void finish() {
    if (builder_ == nullptr) return;
    // A pack that cannot be written is not tried again: it would have its end twice.
    const auto builder = std::exchange(builder_, nullptr);
    std::vector<MovedFrame> frames = std::exchange(frames_, {});
    finished_({builder->finish(), std::move(frames)});
  }

 private:
  Store& store_;
  std::uint64_t bytes_target_;  // 0: the caller finishes packs
  Finished finished_;
  std::unique_ptr<PackBuilder> builder_;
  std::vector<MovedFrame> frames_;
};

FrameMover::FrameMover(Store& from, Store& to, std::uint64_t pack_bytes_target, WholePacks whole_packs,
                       BaseReader read_base, Finished finished)
    : from_(from),
      whole_packs_(whole_packs),
      read_base_(std::move(read_base)),
      whole_(std::make_unique<Packing>(to, 0, finished)),
      rest_(std::make_unique<Packing>(to, pack_bytes_target, finished)) {}
FrameMover::~FrameMover() = default;

void FrameMover::move(std::span<const FrameToMove> frames, Progress& progress) {
  RoundReader reader(from_, frames, read_base_);
  const auto read = [&] { return reader.next(); };
  auto next = std::async(std::launch::async, read);
  while (true) {
    std::vector<Run> round = next.get();
    if (round.empty()) return;
    next = std::async(std::launch::async, read);
    for (Run& run : round) {
      const bool keep = run.whole && whole_packs_ == WholePacks::kKept;
      Packing& packing = keep ? *whole_ : *rest_;
      progress.advance(run.bytes());
      for (ReadyFrame& ready : run.ready) packing.add(std::move(ready));
      if (keep && run.last_of_pack) packing.finish();
    }
  }
}

void FrameMover::finish() {
  whole_->finish();
  rest_->finish();
}

}  // namespace vmpack
