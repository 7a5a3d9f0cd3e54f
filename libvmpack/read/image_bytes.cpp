// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/read/image_bytes.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/sector_diff.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kPieceBytes = 1 * kMiB;

/// Of any part of a file whose extents make sense.
class FileReader {
 public:
  FileReader(const ImageBytes& image, const FileEntry& file) : image_(image), file_(file) {
    std::uint64_t next = 0;
    for (const FileExtent& extent : file.extents) {
      const bool sound = extent.file_offset >= next && extent.length <= UINT64_MAX - extent.file_offset &&
                         is_inside({0, image.size}, extent.disk_offset, extent.length);
      if (!sound) {
        throw Error(ErrorCode::kDamaged, fmt::format("the extents of {} make no sense", printable(file.path)),
                    "its file system may be damaged");
      }
      next = extent.file_offset + extent.length;
    }
  }

  /// Fills `into` from `offset`, calls being in order.
  void read(std::uint64_t offset, ByteSpan into) {
    std::ranges::fill(into, std::byte{0});
    const std::uint64_t end = offset + into.size();
    const auto end_of = [](const FileExtent& extent) { return extent.file_offset + extent.length; };
    while (next_ < file_.extents.size() && end_of(file_.extents[next_]) <= offset) ++next_;
    for (std::size_t i = next_; i < file_.extents.size() && file_.extents[i].file_offset < end; ++i) {
      const FileExtent& extent = file_.extents[i];
      const std::uint64_t from = std::max(offset, extent.file_offset);
      const std::uint64_t until = std::min(end, end_of(extent));
      image_.read(extent.disk_offset + (from - extent.file_offset),
                  into.subspan(from - offset, until - from));
    }
  }

 private:
  const ImageBytes& image_;
  const FileEntry& file_;
  std::size_t next_ = 0;
};

/// What is not a hole in both files. Holes may be of any size.
std::vector<ByteRange> data_of_either(const FileEntry& a, const FileEntry& b) {
  std::vector<ByteRange> data;
  for (const FileEntry* file : {&a, &b}) {
    for (const FileExtent& extent : file->extents) data.push_back({extent.file_offset, extent.length});
  }
  sort_and_join(data);
  return data;
}

}  // namespace

ImageBytes bytes_of(std::shared_ptr<const ImageReader> image) {
  const std::uint64_t size = image->size();
  const auto read = [image](std::uint64_t offset, ByteSpan into) { image->read(offset, into); };
  const auto data_ranges = [image](std::uint64_t offset, std::uint64_t length) {
    std::vector<ByteRange> ranges;
    for (const AllocationRun& run : image->allocation(offset, length)) {
      if (!run.zero) add_range(ranges, {offset, run.length});
      offset += run.length;
    }
    return ranges;
  };
  return {size, read, data_ranges};
}

void read_file(const ImageBytes& image, const FileEntry& file, const std::function<void(ByteView)>& write) {
  FileReader reader(image, file);
  Bytes piece(std::min(kPieceBytes, file.size));
  for (std::uint64_t at = 0; at < file.size; at += kPieceBytes) {
    const ByteSpan some = ByteSpan(piece).first(std::min(kPieceBytes, file.size - at));
    reader.read(at, some);
    write(some);
  }
}

bool same_content(const ImageBytes& before, const FileEntry& old_file, const ImageBytes& after,
                  const FileEntry& new_file) {
  FileReader old_reader(before, old_file);
  FileReader new_reader(after, new_file);
  Bytes old_piece(kPieceBytes);
  Bytes new_piece(kPieceBytes);
  for (const ByteRange& data : data_of_either(old_file, new_file)) {
    const std::uint64_t end = std::min(data.end(), new_file.size);
    for (std::uint64_t at = data.offset; at < end; at += kPieceBytes) {
      const std::uint64_t length = std::min(kPieceBytes, end - at);
      old_reader.read(at, ByteSpan(old_piece).first(length));
      new_reader.read(at, ByteSpan(new_piece).first(length));
      if (std::memcmp(old_piece.data(), new_piece.data(), length) != 0) return false;
    }
  }
  return true;
}

}  // namespace vmpack
