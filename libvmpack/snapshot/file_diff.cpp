// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_diff.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

/// Pages that are read at once, for each thread.
constexpr std::size_t kPagesAtOnce = 4;

using Frames = std::unordered_set<FrameDigest, DigestHash>;

/// Frames of pages that both have. All files between those of such a page are in it, on both sides.
Frames shared_pages(const VolumePair& pair) {
  Frames old_frames;
  for (const FileTablePage& page : pair.before.pages) old_frames.insert(page.frame);
  Frames shared;
  for (const FileTablePage& page : pair.after.pages) {
    if (old_frames.contains(page.frame)) shared.insert(page.frame);
  }
  return shared;
}

/// The files of one volume in pages that are not shared, one after the other.
class FileStream {
 public:
  FileStream(const VolumeFiles& volume, const Frames& shared, unsigned threads)
      : volume_(volume), threads_(threads) {
    for (const FileTablePage& page : volume.pages) {
      if (!shared.contains(page.frame)) pages_.push_back(&page);
    }
  }

  /// The next file; null behind the last one.
  [[nodiscard]] FileRecord* peek() {
    while (next_ == files_.size()) {
      if (next_page_ == pages_.size()) return nullptr;
      fetch();
    }
    return &files_[next_];
  }
  /// After peek().
  FileRecord take() {
    FileRecord file = std::move(files_[next_++]);
    if (file.content && file.entry.inode != 0) contents_.try_emplace(file.entry.inode, *file.content);
    return file;
  }

  /// The content of a file that was taken: also of a further hard link, whose record has none.
  [[nodiscard]] std::optional<Digest> content_of(const FileRecord& file) const {
    if (file.content) return file.content;
    const auto found = contents_.find(file.entry.inode);
    return found == contents_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  void fetch() {
    const std::size_t count = std::min(kPagesAtOnce * threads_, pages_.size() - next_page_);
    std::vector<std::vector<FileRecord>> read(count);
    parallel_for(count, threads_, [&](std::size_t i) { read[i] = volume_.read(*pages_[next_page_ + i]); });
    next_page_ += count;
    files_.clear();
    next_ = 0;
    for (std::vector<FileRecord>& page : read) std::ranges::move(page, std::back_inserter(files_));
  }

  const VolumeFiles& volume_;
  unsigned threads_;
  std::vector<const FileTablePage*> pages_;
  std::size_t next_page_ = 0;
  std::vector<FileRecord> files_;
  std::size_t next_ = 0;
  std::unordered_map<std::uint64_t, Digest> contents_;  // by inode
};

/// Where a file has data, in whole sectors.
std::vector<ByteRange> data_of(const FileEntry& file) {
  std::vector<ByteRange> data;
  for (const FileExtent& extent : file.extents) {
    data.push_back({extent.file_offset, round_up(extent.length, kSectorBytes)});
  }
  sort_and_join(data);
  return data;
}

class VolumeDiffer {
 public:
  VolumeDiffer(const VolumePair& volumes, std::size_t pair, const SameBytes& same_bytes, unsigned threads,
               FileDiff& diff)
      : VolumeDiffer(volumes, shared_pages(volumes), pair, same_bytes, threads, diff) {}

  void run() {
    while (true) {
      const FileRecord* before = before_.peek();
      const FileRecord* after = after_.peek();
      if (before == nullptr && after == nullptr) return;
      const auto order = before == nullptr  ? std::strong_ordering::greater
                         : after == nullptr ? std::strong_ordering::less
                                            : before->entry.path <=> after->entry.path;
      if (order < 0) {
        add({FileFate::kRemoved, pair_, before_.take(), {}, {}});
      } else if (order > 0) {
        add({FileFate::kAdded, pair_, {}, after_.take(), {}});
      } else {
        compare(before_.take(), after_.take());
      }
    }
  }

 private:
  VolumeDiffer(const VolumePair& volumes, const Frames& shared, std::size_t pair, const SameBytes& same_bytes,
               unsigned threads, FileDiff& diff)
      : before_(volumes.before, shared, threads),
        after_(volumes.after, shared, threads),
        pair_(pair),
        same_bytes_(same_bytes),
        diff_(diff) {}

  void add(FileDifference difference) {
    for (auto* file : {&difference.before, &difference.after}) {
      if (*file) (*file)->entry.extents = {};
    }
    diff_.differences.push_back(std::move(difference));
  }

  void compare(FileRecord before, FileRecord after) {
    const FileEntry& was = before.entry;
    const FileEntry& is = after.entry;
    FileChanges changes;
    changes.type = was.type != is.type;
    changes.mode = was.mode != is.mode;
    changes.owner = was.uid != is.uid || was.gid != is.gid;
    if (!changes.type && is.type == FileType::kSymlink) changes.content = was.target != is.target;
    if (!changes.type && is.type == FileType::kRegular) compare_content(before, after, changes);
    if (changes.any()) {
      add({FileFate::kChanged, pair_, std::move(before), std::move(after), changes});
    } else if (was.modified_ns != is.modified_ns) {
      ++diff_.retimed;
    }
  }

  void compare_content(const FileRecord& before, const FileRecord& after, FileChanges& changes) const {
    const auto was = before_.content_of(before);
    const auto is = after_.content_of(after);
    if (before.entry.size != after.entry.size) {
      changes.content = true;
    } else if (was && is) {
      changes.content = was != is && !has_same_bytes(before, after);
    } else if (after.entry.size > 0) {
      changes.content = before.entry.modified_ns != after.entry.modified_ns;
      changes.content_sure = !changes.content;
    }
  }

  /// Of content with two digests. Those depend on where holes are, which a copy need not keep.
  [[nodiscard]] bool has_same_bytes(const FileRecord& before, const FileRecord& after) const {
    return same_bytes_ && data_of(before.entry) != data_of(after.entry) && same_bytes_(before, after);
  }

  FileStream before_;
  FileStream after_;
  std::size_t pair_;
  const SameBytes& same_bytes_;
  FileDiff& diff_;
};

/// What was removed and added with one content.
struct Movement {
  std::vector<FileDifference*> removed;
  std::vector<FileDifference*> added;
};

void join(FileDifference& removed, FileDifference& added) {
  const FileEntry& was = removed.before->entry;
  const FileEntry& is = added.after->entry;
  added.fate = FileFate::kMoved;
  added.changes.mode = was.mode != is.mode;
  added.changes.owner = was.uid != is.uid || was.gid != is.gid;
  added.before = std::move(removed.before);
  removed.before.reset();
}

void find_moved(std::vector<FileDifference>& differences) {
  std::unordered_map<Digest, Movement, DigestHash> movements;
  for (FileDifference& difference : differences) {
    if (difference.fate == FileFate::kChanged) continue;
    const FileRecord& file = difference.after ? *difference.after : *difference.before;
    if (!file.content || file.entry.size == 0 || file.entry.type != FileType::kRegular) continue;
    Movement& movement = movements[*file.content];
    (difference.after ? movement.added : movement.removed).push_back(&difference);
  }
  for (auto& [content, movement] : movements) {
    if (movement.removed.size() != 1 || movement.added.size() != 1) continue;
    if (movement.removed[0]->entry().size == movement.added[0]->entry().size)
      join(*movement.removed[0], *movement.added[0]);
  }
  std::erase_if(differences,
                [](const FileDifference& difference) { return !difference.before && !difference.after; });
}

}  // namespace

FileDiff diff_files(const std::vector<VolumePair>& pairs, const SameBytes& same_bytes, unsigned threads) {
  FileDiff diff;
  for (std::size_t i = 0; i < pairs.size(); ++i) VolumeDiffer(pairs[i], i, same_bytes, threads, diff).run();
  find_moved(diff.differences);
  return diff;
}

}  // namespace vmpack
