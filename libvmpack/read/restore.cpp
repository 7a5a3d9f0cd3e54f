// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/restore.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kBaseCacheBytes = 32 * kMiB;
constexpr std::uint64_t kBlocksCacheBytes = 512 * kMiB;
constexpr std::uint64_t kBlocksBytesMax = kMiB;

/// A piece of the image and where it is in one frame.
struct Piece {
  std::uint64_t disk_offset;
  std::uint32_t length;
  std::uint32_t frame_offset;
};

/// A frame and all that the image takes from it.
struct FrameUse {
  FrameDigest digest;
  FrameLocation location;  // of the first candidate, to read packs in order
  std::vector<Piece> pieces;
};

/// What an image, or a part of it, is made of, in the order of the packs. Offsets count from the start of
/// `range`.
std::vector<FrameUse> collect_uses(const MapReader& map, ByteRange range) {
  std::vector<FrameUse> uses;
  std::unordered_map<FrameDigest, std::size_t, DigestHash> numbers;
  map.for_each_page(
      [&](std::uint64_t region_start, const MapPage& page) {
        std::vector<std::size_t> local(page.frames.size());
        for (std::size_t i = 0; i < page.frames.size(); ++i) {
          const auto [entry, is_new] = numbers.try_emplace(page.frames[i], uses.size());
          if (is_new) {
            const auto locations = map.places().find(page.frames[i]);
            uses.push_back({page.frames[i], locations.empty() ? FrameLocation{} : locations.front(), {}});
          }
          local[i] = entry->second;
        }
        for (const PageRun& run : page.runs) {
          const std::uint64_t run_start = region_start + run.start * kSectorBytes;
          const std::uint64_t start = std::max(run_start, range.offset);
          const std::uint64_t end = std::min(run_start + run.length * kSectorBytes, range.end());
          if (start >= end) continue;
          uses[local[run.frame]].pieces.push_back(
              {start - range.offset, static_cast<std::uint32_t>(end - start),
               run.offset + static_cast<std::uint32_t>(start - run_start)});
        }
      },
      range);
  std::erase_if(uses, [](const FrameUse& use) { return use.pieces.empty(); });
  std::ranges::sort(
      uses, {}, [](const FrameUse& use) { return std::pair(use.location.pack.bytes, use.location.offset); });
  return uses;
}

RestoreResult summarize(std::uint64_t image_bytes, const std::vector<FrameUse>& uses) {
  RestoreResult result{image_bytes, 0, 0};
  for (const FrameUse& use : uses) {
    for (const Piece& piece : use.pieces) result.data_bytes += piece.length;
    result.stored_bytes += use.location.stored_bytes;
  }
  return result;
}

/// The blocks that hold data, up to the end of the image, in ranges of at most kBlocksBytesMax.
std::vector<ByteRange> blocks_with_data(const std::vector<FrameUse>& uses, std::uint64_t block_bytes,
                                        std::uint64_t image_bytes) {
  std::vector<ByteRange> blocks;
  for (const FrameUse& use : uses) {
    for (const Piece& piece : use.pieces) {
      const std::uint64_t start = round_down(piece.disk_offset, block_bytes);
      blocks.push_back({start, round_up(piece.disk_offset + piece.length, block_bytes) - start});
    }
  }
  sort_and_join(blocks);
  std::vector<ByteRange> parts;
  for (const ByteRange& range : blocks) {
    const std::uint64_t end = std::min(range.end(), image_bytes);
    const std::uint64_t part_bytes = std::max(round_down(kBlocksBytesMax, block_bytes), block_bytes);
    for (std::uint64_t at = range.offset; at < end; at += part_bytes) {
      parts.push_back({at, std::min(part_bytes, end - at)});
    }
  }
  return parts;
}

class RawSink final : public ImageSink {
 public:
  RawSink(const std::string& path, std::uint64_t image_bytes, bool replace)
      : pending_(path, replace), file_(FileDescriptor::open(pending_.temporary(), O_RDWR)) {
    if (::ftruncate(file_.get(), static_cast<off_t>(image_bytes)) != 0)
      throw system_error(errno, "cannot size", path);
  }

  void write(std::uint64_t offset, ByteView bytes) override {
    write_at(file_.get(), bytes, offset, pending_.path());
  }
  void finish() override { pending_.publish(); }

 private:
  PendingFile pending_;
  FileDescriptor file_;
};

}  // namespace

PendingFile::PendingFile(std::string path, bool replace)
    : path_(std::move(path)), temporary_(fmt::format("{}.vmpack-{}", path_, ::getpid())) {
  if (!replace && ::access(path_.c_str(), F_OK) == 0) {
    throw Error(ErrorCode::kAlreadyExists, fmt::format("{} exists already", path_),
                "name another file, or give --force");
  }
  FileDescriptor::open(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);
}

PendingFile::~PendingFile() {
  if (!published_) ::unlink(temporary_.c_str());
}

void PendingFile::publish() {
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw system_error(errno, "cannot write", path_);
  published_ = true;
}

std::unique_ptr<ImageSink> open_raw_sink(const std::string& path, std::uint64_t image_bytes, bool replace) {
  return std::make_unique<RawSink>(path, image_bytes, replace);
}

RestoreResult restore(const Repository& repository, const SnapshotDigest& snapshot, ImageSink& sink,
                      unsigned threads, Progress& progress) {
  const std::uint64_t image_bytes = repository.manifest(snapshot).image_bytes;
  return restore_range(repository, snapshot, {0, image_bytes}, sink, threads, progress);
}

RestoreResult restore_range(const Repository& repository, const SnapshotDigest& snapshot, ByteRange range,
                            ImageSink& sink, unsigned threads, Progress& progress) {
  const MapReader map(repository.store(), snapshot, repository.manifest(snapshot).map);
  const std::vector<FrameUse> uses = collect_uses(map, range);
  const RestoreResult result = summarize(range.length, uses);
  // Neighbours stand on the same bases.
  FrameCache bases(kBaseCacheBytes);
  const BaseReader read_base = [&](const FrameDigest& digest) {
    return bases.get(digest, [&] { return map.base(digest); });
  };
  progress.begin("restoring", result.data_bytes);
  parallel_for(uses.size(), threads, [&](std::size_t i) {
    const FrameUse& use = uses[i];
    const auto frame = map.frame(use.digest, read_base);
    for (const Piece& piece : use.pieces) {
      if (std::uint64_t{piece.frame_offset} + piece.length > frame->bytes.size()) {
        throw Error(ErrorCode::kDamaged,
                    fmt::format("the block map points behind the end of frame {}", use.digest.hex()));
      }
      sink.write(piece.disk_offset, ByteView(frame->bytes).subspan(piece.frame_offset, piece.length));
      progress.advance(piece.length);
    }
  });
  sink.finish();
  progress.end();
  return result;
}

RestoreResult restore_blocks(std::shared_ptr<const Repository> repository, const SnapshotDigest& snapshot,
                             std::uint64_t block_bytes, ImageSink& sink, unsigned threads,
                             Progress& progress) {
  const Manifest manifest = repository->manifest(snapshot);
  RestoreResult result;
  std::vector<ByteRange> parts;
  {
    const MapReader map(repository->store(), snapshot, manifest.map);
    const std::vector<FrameUse> uses = collect_uses(map, {0, manifest.image_bytes});
    result = summarize(manifest.image_bytes, uses);
    parts = blocks_with_data(uses, block_bytes, manifest.image_bytes);
  }
  const auto image =
      ImageReader::open(std::move(repository), snapshot, std::make_shared<FrameCache>(kBlocksCacheBytes));
  progress.begin("restoring", total_bytes(parts));
  parallel_for(parts.size(), threads, [&](std::size_t i) {
    Bytes bytes(parts[i].length);
    image->read(parts[i].offset, bytes);
    sink.write(parts[i].offset, bytes);
    progress.advance(bytes.size());
  });
  sink.finish();
  progress.end();
  return result;
}

}  // namespace vmpack
