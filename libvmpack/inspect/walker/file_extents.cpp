// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/file_extents.hpp"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::uint32_t kExtentsPerAnswer = 512;
constexpr std::uint32_t kNotItsOwnFlags =
    FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED |
    FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL;

}  // namespace

ExtentReader::ExtentReader(const AddressMap& to_disk)
    : to_disk_(to_disk), answer_(sizeof(fiemap) + kExtentsPerAnswer * sizeof(fiemap_extent)) {}

ExtentReader::Outcome ExtentReader::read(int file, std::uint64_t size, std::vector<FileExtent>& extents) {
  extents.clear();
  runs_.clear();
  shared_.clear();
  const Outcome asked = ask(file, size);
  if (asked != Outcome::kGood) return asked;
  const Outcome placed = place(extents);
  if (placed != Outcome::kGood) extents.clear();
  return placed;
}

ExtentReader::Outcome ExtentReader::ask(int file, std::uint64_t size) {
  for (std::uint64_t at = 0; at < size;) {
    // All zero; clang refuses {} for what ends in an array of no size.
    auto request = read_struct<fiemap>(Bytes(sizeof(fiemap)));
    request.fm_start = at;
    request.fm_length = size - at;
    request.fm_extent_count = kExtentsPerAnswer;
    std::memcpy(answer_.data(), &request, sizeof(request));
    if (::ioctl(file, FS_IOC_FIEMAP, answer_.data()) != 0) return Outcome::kDamaged;
    std::uint64_t next = at;
    const Outcome outcome = take(size, next);
    if (outcome != Outcome::kGood) return outcome;
    if (next <= at) break;
    at = next;
  }
  return Outcome::kGood;
}

// Takes an answer's extents. `next`: where to ask on; unchanged when there is nothing more.
ExtentReader::Outcome ExtentReader::take(std::uint64_t size, std::uint64_t& next) {
  const auto header = read_struct<fiemap>(answer_);
  const std::uint32_t count = std::min(header.fm_mapped_extents, kExtentsPerAnswer);
  if (runs_.size() + count > limits::kFileExtentsMax) return Outcome::kDamaged;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto extent =
        read_struct<fiemap_extent>(ByteView(answer_).subspan(sizeof(header) + i * sizeof(fiemap_extent)));
    if (extent.fe_logical >= size) break;
    if ((extent.fe_flags & kNotItsOwnFlags) != 0) return Outcome::kNotItsOwn;
    const bool in_order =
        runs_.empty() || extent.fe_logical >= runs_.back().file_offset + runs_.back().range.length;
    const bool countable = extent.fe_length <= std::numeric_limits<std::uint64_t>::max() - extent.fe_logical;
    if (!in_order || !countable) return Outcome::kDamaged;
    next = extent.fe_logical + extent.fe_length;
    if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) next = size;
    if ((extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0) continue;
    const ByteRange range{extent.fe_physical,
                          std::min<std::uint64_t>(extent.fe_length, size - extent.fe_logical)};
    runs_.push_back({extent.fe_logical, range});
    // As far as a block goes, so that a shorter file does not seem to leave the rest of it to others.
    if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0)
      shared_.push_back({extent.fe_physical, extent.fe_length});
  }
  return Outcome::kGood;
}

// From runs to places on the disk.
ExtentReader::Outcome ExtentReader::place(std::vector<FileExtent>& extents) {
  if (overlap_each_other()) return Outcome::kNotItsOwn;
  for (const Run& run : runs_) {
    pieces_.clear();
    if (!to_disk_.translate(run.range, pieces_)) return Outcome::kDamaged;
    std::uint64_t file_offset = run.file_offset;
    for (const ByteRange& piece : pieces_) {
      FileExtent* before = extents.empty() ? nullptr : &extents.back();
      if (before != nullptr && before->file_offset + before->length == file_offset &&
          before->disk_offset + before->length == piece.offset) {
        before->length += piece.length;
      } else {
        extents.push_back({file_offset, piece.offset, piece.length});
      }
      file_offset += piece.length;
    }
  }
  if (extents.size() > limits::kFileExtentsMax) return Outcome::kDamaged;
  return taken_.take(shared_) ? Outcome::kGood : Outcome::kNotItsOwn;
}

// A file may share with itself, and not every kernel says so.
bool ExtentReader::overlap_each_other() {
  if (runs_.size() < 2) return false;
  sorted_.clear();
  for (const Run& run : runs_) sorted_.push_back(run.range);
  std::ranges::sort(sorted_, {}, &ByteRange::offset);
  const auto overlap = [](const ByteRange& a, const ByteRange& b) {
    return b.offset < a.offset + std::min(a.length, std::numeric_limits<std::uint64_t>::max() - a.offset);
  };
  return std::ranges::adjacent_find(sorted_, overlap) != sorted_.end();
}

}  // namespace vmpack
