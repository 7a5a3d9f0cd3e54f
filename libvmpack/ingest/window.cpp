// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/window.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/partition/policy.hpp"

namespace vmpack {
namespace {

/// One read may cover several parts that lie close together, at the price of the bytes between them.
constexpr std::uint64_t kReadBytesMax = 1 * kMiB;
constexpr std::uint64_t kReadGapMax = 16 * kKiB;

/// Where a piece of the disk goes in the window's content.
struct Target {
  std::uint64_t disk_offset;
  std::uint64_t length;
  std::uint64_t content_offset;
};

std::uint64_t sectors_of(const Part& part) { return round_up(part.bytes, kSectorBytes); }

std::vector<Target> targets_of(const Window& window) {
  std::vector<Target> targets;
  for (std::size_t i = 0; i < window.parts.size(); ++i) {
    std::uint64_t at = window.part_starts[i];
    for (const ByteRange& range : window.parts[i].ranges) {
      for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t length = std::min(range.length - done, kReadBytesMax);
        targets.push_back({range.offset + done, length, at});
        at += length;
        done += length;
      }
    }
  }
  std::ranges::sort(targets, {}, &Target::disk_offset);
  return targets;
}

/// Groups of targets that one read serves; each ends before the next begins.
std::vector<std::span<const Target>> group_reads(std::span<const Target> targets) {
  std::vector<std::span<const Target>> groups;
  std::size_t start = 0;
  for (std::size_t i = 1; i <= targets.size(); ++i) {
    if (i < targets.size()) {
      const Target& last = targets[i - 1];
      const bool close = targets[i].disk_offset - (last.disk_offset + last.length) <= kReadGapMax;
      const bool small =
          targets[i].disk_offset + targets[i].length - targets[start].disk_offset <= kReadBytesMax;
      if (close && small) continue;
    }
    groups.push_back(targets.subspan(start, i - start));
    start = i;
  }
  return groups;
}

/// Whether the targets lie in the content as they lie on the disk, without gaps: the common case.
bool is_one_run(std::span<const Target> group) {
  for (std::size_t i = 1; i < group.size(); ++i) {
    const Target& last = group[i - 1];
    if (group[i].disk_offset != last.disk_offset + last.length ||
        group[i].content_offset != last.content_offset + last.length) {
      return false;
    }
  }
  return true;
}

void read_group(Source& source, std::span<const Target> group, ByteSpan content) {
  const Target& first = group.front();
  const std::uint64_t length = group.back().disk_offset + group.back().length - first.disk_offset;
  if (is_one_run(group)) {
    source.read(first.disk_offset, content.subspan(first.content_offset, length));
    return;
  }
  static thread_local Bytes memory(kReadBytesMax);
  const ByteSpan staging = ByteSpan(memory).first(length);
  source.read(first.disk_offset, staging);
  for (const Target& target : group) {
    std::memcpy(content.data() + target.content_offset,
                staging.data() + (target.disk_offset - first.disk_offset), target.length);
  }
}

CutParameters cut_parameters(ObjectClass object_class, const RepositoryParameters& parameters) {
  const std::uint32_t finer = policy_of(object_class).finer;
  return {parameters.cut_bytes_min / finer, parameters.cut_bytes_target / finer,
          parameters.cut_bytes_max / finer};
}

/// Cuts one part's content into objects that have no digest yet. Files keep their zeros (the same file gives
/// the same objects, however it lies on a disk); elsewhere blocks of zeros are left out before cutting.
class PartCutter {
 public:
  /// Adds to `objects`.
  PartCutter(const Part& part, std::uint32_t number, ByteView content, const RepositoryParameters& parameters,
             std::vector<CutObject>& objects)
      : part_(part),
        number_(number),
        content_(content.first(part.bytes)),
        slack_(content.subspan(part.bytes)),
        parameters_(cut_parameters(part.object_class, parameters)),
        fixed_bytes_(policy_of(part.object_class).fixed_bytes),
        objects_(objects) {}

  void cut() {
    if (part_.file != Part::kNoFile) {
      cut_run(0, content_.size());
      if (!is_zero(slack_)) add_slack_sector();
      return;
    }
    for (std::uint64_t at = 0; at < content_.size();) {
      const std::uint64_t end = std::min<std::uint64_t>(at + kBlockBytes, content_.size());
      if (is_zero(content_.subspan(at, end - at))) {
        at = end;
        continue;
      }
      std::uint64_t stop = end;
      while (stop < content_.size() && !is_zero(content_.subspan(stop, block_at(stop))))
        stop += block_at(stop);
      cut_run(at, stop);
      at = stop;
    }
  }

 private:
  [[nodiscard]] std::uint64_t block_at(std::uint64_t offset) const {
    return std::min<std::uint64_t>(kBlockBytes, content_.size() - offset);
  }

  /// Where the part begins, counted in its file: a file's pages line up whatever piece of it this is.
  [[nodiscard]] std::uint64_t first_byte() const {
    return part_.file == Part::kNoFile ? 0 : part_.file_offset;
  }

  void cut_run(std::uint64_t at, std::uint64_t end) {
    while (at < end) {
      const ByteView rest = content_.subspan(at, end - at);
      std::uint64_t length = rest.size();
      if (part_.cutting == Cutting::kFixed) {
        length = std::min<std::uint64_t>(length, fixed_bytes_ - (first_byte() + at) % fixed_bytes_);
      }
      if (part_.cutting == Cutting::kContentDefined) length = content_defined_cut(rest, parameters_);
      add(at, rest.first(length));
      at += length;
    }
  }

  void add(std::uint64_t at, ByteView bytes) {
    CutObject object;
    object.zero = is_zero(bytes);
    object.part = number_;
    object.part_offset = at;
    object.bytes = static_cast<std::uint32_t>(bytes.size());
    objects_.push_back(object);
  }

  /// The last sector holds the file's last bytes and something else: it is stored once more, as the disk has
  /// it.
  void add_slack_sector() {
    const std::uint64_t at = round_down(content_.size(), kSectorBytes);
    add(at, {content_.data() + at, kSectorBytes});
    objects_.back().slack = true;
  }

  const Part& part_;
  std::uint32_t number_;
  ByteView content_;
  ByteView slack_;
  CutParameters parameters_;
  std::uint64_t fixed_bytes_;
  std::vector<CutObject>& objects_;
};

/// Where groups of parts begin: each a task of its own, with enough objects in it to hash several at once,
/// and short enough to be in the processor's cache when it is hashed.
std::vector<std::size_t> group_parts(std::span<const Part> parts) {
  constexpr std::uint64_t kGroupBytes = 512 * kKiB;
  std::vector<std::size_t> starts;
  std::uint64_t bytes = kGroupBytes;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (bytes >= kGroupBytes) {
      starts.push_back(i);
      bytes = 0;
    }
    bytes += sectors_of(parts[i]);
  }
  return starts;
}

void hash(const Window& window, std::span<CutObject> objects) {
  std::vector<ByteView> bytes;
  bytes.reserve(objects.size());
  for (const CutObject& object : objects) bytes.push_back(window.object_bytes(object));
  std::vector<Digest> digests(objects.size());
  sha256_each(bytes, digests);
  for (std::size_t i = 0; i < objects.size(); ++i) objects[i].digest = ObjectDigest(digests[i]);
}

}  // namespace

std::size_t next_window(std::span<const Part> parts) {
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  while (count < parts.size() && bytes + sectors_of(parts[count]) <= kWindowBytesMax) {
    bytes += sectors_of(parts[count]);
    ++count;
  }
  return count;
}

Window read_window(Source& source, std::span<const Part> parts, BufferPool& buffers) {
  Window window;
  window.parts = parts;
  std::uint64_t bytes = 0;
  for (const Part& part : parts) {
    window.part_starts.push_back(bytes);
    bytes += sectors_of(part);
  }
  VMPACK_ASSERT(bytes <= kWindowBytesMax);
  window.buffer = buffers.take();
  window.content = {window.buffer.get(), bytes};
  const std::vector<Target> targets = targets_of(window);
  const auto groups = group_reads(targets);
  tbb::parallel_for(std::size_t{0}, groups.size(),
                    [&](std::size_t i) { read_group(source, groups[i], window.content); });
  return window;
}

void cut_window(Window& window, const RepositoryParameters& parameters) {
  const std::vector<std::size_t> starts = group_parts(window.parts);
  std::vector<std::vector<CutObject>> cut(starts.size());
  tbb::parallel_for(std::size_t{0}, starts.size(), [&](std::size_t group) {
    const std::size_t end = group + 1 < starts.size() ? starts[group + 1] : window.parts.size();
    for (std::size_t i = starts[group]; i < end; ++i) {
      const ByteView content = window.content.subspan(window.part_starts[i], sectors_of(window.parts[i]));
      PartCutter(window.parts[i], static_cast<std::uint32_t>(i), content, parameters, cut[group]).cut();
    }
    hash(window, cut[group]);
  });
  for (const auto& objects : cut) window.objects.insert(window.objects.end(), objects.begin(), objects.end());
}

}  // namespace vmpack
