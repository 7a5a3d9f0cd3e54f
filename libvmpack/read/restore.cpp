// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/restore.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/snapshot/map_reader.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kBaseCacheBytes = 32 * kMiB;

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

std::vector<FrameUse> collect_uses(const MapReader& map) {
  std::vector<FrameUse> uses;
  std::unordered_map<FrameDigest, std::size_t, DigestHash> numbers;
  map.for_each_page([&](std::uint64_t region_start, const MapPage& page) {
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
      uses[local[run.frame]].pieces.push_back({region_start + run.start * kSectorBytes,
                                               static_cast<std::uint32_t>(run.length * kSectorBytes),
                                               run.offset});
    }
  });
  std::ranges::sort(
      uses, {}, [](const FrameUse& use) { return std::pair(use.location.pack.bytes, use.location.offset); });
  return uses;
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
  const Manifest manifest = repository.manifest(snapshot);
  const MapReader map(repository.store(), snapshot, manifest.map);
  const std::vector<FrameUse> uses = collect_uses(map);
  RestoreResult result{manifest.image_bytes, 0, 0};
  for (const FrameUse& use : uses) {
    for (const Piece& piece : use.pieces) result.data_bytes += piece.length;
    result.stored_bytes += use.location.stored_bytes;
  }
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

}  // namespace vmpack
