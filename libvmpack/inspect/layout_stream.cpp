// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/layout_stream.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {

using layout_stream::FileHeader;
using layout_stream::kRecordBytesMax;
using layout_stream::kTextBytesMax;
using layout_stream::Record;
using layout_stream::RecordHeader;

namespace {

constexpr std::size_t kFlushBytes = 256 * kKiB;
/// Extents that ride with their file; the rest follows in records of their own.
constexpr std::size_t kExtentsPerRecord = 16 * kKiB;
/// Files that a mere announcement makes the reader take memory for.
constexpr std::uint64_t kReservedFilesMax = 100'000;

[[noreturn]] void nonsense(std::string_view what) {
  throw Error(ErrorCode::kDamaged, fmt::format("the process that reads it answered nonsense ({})", what));
}

/// Absolute, without empty, "." and ".." parts: a path that could be joined to a folder without leaving it.
bool is_sane_path(std::string_view path) {
  if (path == "/") return true;
  if (path.empty() || path.front() != '/' || path.find('\0') != std::string_view::npos) return false;
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto part = path.substr(0, path.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    path.remove_prefix(part.size());
  }
  return true;
}

}  // namespace

void take_findings(Volume& volume, Volume found) {
  found.range = volume.range;
  found.pieces = std::move(volume.pieces);
  found.name = std::move(volume.name);
  found.number = volume.number;
  found.partition_type = std::move(volume.partition_type);
  if (found.type.empty()) found.type = std::move(volume.type);
  volume = std::move(found);
}

// --- writer

void LayoutStreamWriter::open(Record kind, std::size_t more_bytes) {
  const auto wanted = static_cast<std::uint32_t>(kind);
  const std::size_t used = open_kind_ == 0 ? 0 : buffer_.size() - open_at_ - sizeof(RecordHeader);
  if (open_kind_ == wanted && used + more_bytes <= kRecordBytesMax) return;
  close();
  if (buffer_.size() >= kFlushBytes) {
    sink_(buffer_);
    buffer_.clear();
  }
  open_kind_ = wanted;
  open_at_ = buffer_.size();
  append(buffer_, struct_bytes(RecordHeader{}));
}

void LayoutStreamWriter::close() {
  if (open_kind_ == 0) return;
  const RecordHeader header{open_kind_,
                            static_cast<std::uint32_t>(buffer_.size() - open_at_ - sizeof(RecordHeader))};
  std::memcpy(buffer_.data() + open_at_, &header, sizeof(header));
  open_kind_ = 0;
}

void LayoutStreamWriter::put_text(std::string_view text) {
  text = text.substr(0, kTextBytesMax);
  append(buffer_, struct_bytes(static_cast<std::uint32_t>(text.size())));
  append(buffer_, as_byte_view(text));
}

void LayoutStreamWriter::table(std::string_view kind, std::string_view disk_uuid) {
  open(Record::kTable, 0);
  put_text(kind);
  put_text(disk_uuid);
  close();
}

void LayoutStreamWriter::partition(const Volume& volume) {
  open(Record::kPartition, 0);
  append(buffer_, struct_bytes(volume.range));
  append(buffer_, struct_bytes(volume.number));
  put_text(volume.partition_type);
  put_text(volume.type);
  close();
}

void LayoutStreamWriter::file_system(const Volume& volume, std::uint64_t files) {
  open(Record::kFileSystem, 0);
  append(buffer_, struct_bytes(volume.block_bytes));
  append(buffer_, struct_bytes(files));
  append(buffer_, struct_bytes(static_cast<std::uint8_t>(volume.dirty)));
  put_text(volume.type);
  put_text(volume.label);
  put_text(volume.uuid);
  close();
}

void LayoutStreamWriter::file(const FileEntry& entry) {
  const std::size_t first = std::min(entry.extents.size(), kExtentsPerRecord);
  const auto extents = std::span(entry.extents);
  open(Record::kFiles,
       sizeof(FileHeader) + entry.path.size() + entry.target.size() + first * sizeof(FileExtent));
  append(buffer_, struct_bytes(FileHeader{.inode = entry.inode,
                                          .modified_ns = entry.modified_ns,
                                          .size = entry.size,
                                          .uid = entry.uid,
                                          .gid = entry.gid,
                                          .extent_count = static_cast<std::uint32_t>(first),
                                          .mode = entry.mode,
                                          .path_bytes = static_cast<std::uint16_t>(entry.path.size()),
                                          .target_bytes = static_cast<std::uint16_t>(entry.target.size()),
                                          .type = static_cast<std::uint8_t>(entry.type)}));
  append(buffer_, as_byte_view(entry.path));
  append(buffer_, as_byte_view(entry.target));
  append(buffer_, std::as_bytes(extents.first(first)));
  for (std::size_t at = first; at < extents.size(); at += kExtentsPerRecord) {
    close();
    const auto part = extents.subspan(at, std::min(kExtentsPerRecord, extents.size() - at));
    open(Record::kExtents, part.size_bytes());
    append(buffer_, std::as_bytes(part));
  }
}

void LayoutStreamWriter::free(ByteRange range) {
  open(Record::kFree, sizeof(range));
  append(buffer_, struct_bytes(range));
}

void LayoutStreamWriter::piece(ByteRange range) {
  open(Record::kPieces, sizeof(range));
  append(buffer_, struct_bytes(range));
}

void LayoutStreamWriter::warning(std::string_view text) {
  open(Record::kWarning, 0);
  put_text(text);
  close();
}

void LayoutStreamWriter::end(bool inspected) {
  open(Record::kEnd, 0);
  append(buffer_, struct_bytes(static_cast<std::uint8_t>(inspected)));
  close();
  sink_(buffer_);
  buffer_.clear();
}

// --- reader

/// Reads values off a payload, and refuses to read past its end.
class LayoutStreamReader::Cursor {
 public:
  explicit Cursor(ByteView bytes) : bytes_(bytes) {}

  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  [[nodiscard]] std::size_t left() const { return bytes_.size(); }

  template <typename T>
  T value() {
    return read_struct<T>(take(sizeof(T)));
  }
  ByteView take(std::size_t count) {
    if (count > bytes_.size()) nonsense("a record ends too early");
    const ByteView taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  /// Text for people, made safe for terminals and JSON.
  std::string text() {
    const auto length = value<std::uint32_t>();
    if (length > kTextBytesMax) nonsense("a text is too long");
    return printable(as_text(take(length)));
  }

 private:
  ByteView bytes_;
};

void LayoutStreamReader::charge(std::uint64_t bytes) {
  memory_bytes_ += bytes;
  if (memory_bytes_ > layout_stream::kVolumeMemoryBytesMax) {
    throw Error(ErrorCode::kLimit, "it holds more files than can be listed");
  }
}

std::size_t LayoutStreamReader::feed(ByteView bytes) {
  const std::size_t given = bytes.size();
  while (!bytes.empty() && !ended_) {
    // Whole records are read where they lie; only one that came in pieces is put together first.
    if (pending_.size() + bytes.size() < sizeof(RecordHeader)) {
      append(pending_, bytes);
      return given;
    }
    std::array<std::byte, sizeof(RecordHeader)> head;
    const std::size_t held = std::min(pending_.size(), head.size());
    std::copy_n(pending_.begin(), held, head.begin());
    std::copy_n(bytes.begin(), head.size() - held, head.begin() + static_cast<std::ptrdiff_t>(held));
    const auto header = read_struct<RecordHeader>(head);
    if (header.length > kRecordBytesMax) nonsense("a record is too long");
    const std::size_t whole = sizeof(header) + header.length;
    if (pending_.size() + bytes.size() < whole) {
      append(pending_, bytes);
      return given;
    }
    const std::size_t from_bytes = whole - pending_.size();
    ByteView payload = bytes.first(from_bytes);
    if (!pending_.empty()) {
      append(pending_, payload);
      payload = pending_;
    }
    record(static_cast<Record>(header.kind), payload.subspan(sizeof(header)));
    pending_.clear();
    bytes = bytes.subspan(from_bytes);
  }
  return given - bytes.size();
}

void LayoutStreamReader::record(Record kind, ByteView payload) {
  Cursor in(payload);
  const bool for_table = kind == Record::kTable || kind == Record::kPartition;
  const bool for_both = kind == Record::kWarning || kind == Record::kEnd;
  if (!for_both && for_table != (expect_ == Expect::kTable)) nonsense("a record that nobody asked for");
  switch (kind) {
    case Record::kTable:
      read_table(in);
      break;
    case Record::kPartition:
      read_partition(in);
      break;
    case Record::kFileSystem:
      read_file_system(in);
      break;
    case Record::kFiles:
      while (!in.empty()) read_file(in);
      break;
    case Record::kExtents:
      if (volume_.files.empty()) nonsense("extents of no file");
      read_extents(in, volume_.files.back(), in.left() / sizeof(FileExtent));
      break;
    case Record::kFree:
      while (!in.empty()) read_free(in);
      break;
    case Record::kPieces:
      while (!in.empty()) read_piece(in);
      break;
    case Record::kWarning:
      volume_.warning = in.text();
      break;
    case Record::kEnd:
      read_end(in);
      break;
    default:
      nonsense("a record of an unknown kind");
  }
  if (!in.empty()) nonsense("a record is longer than what it holds");
}

void LayoutStreamReader::read_table(Cursor& in) {
  layout_.table = in.text();
  layout_.disk_uuid = in.text();
  if (layout_.table != "gpt" && layout_.table != "mbr" && !layout_.table.empty()) {
    nonsense("an unknown partition table");
  }
}

void LayoutStreamReader::read_partition(Cursor& in) {
  if (layout_.volumes.size() >= limits::kVolumesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("more than {} partitions", limits::kVolumesMax));
  }
  Volume volume;
  volume.range = in.value<ByteRange>();
  volume.number = in.value<std::uint32_t>();
  volume.partition_type = in.text();
  volume.type = in.text();
  const std::uint64_t start = layout_.volumes.empty() ? range_.offset : layout_.volumes.back().range.end();
  if (volume.range.length == 0 || volume.range.offset < start || volume.range.offset % kSectorBytes != 0 ||
      !is_inside(range_, volume.range.offset, volume.range.length)) {
    nonsense("a partition outside the image, or out of order");
  }
  layout_.volumes.push_back(std::move(volume));
}

void LayoutStreamReader::read_file_system(Cursor& in) {
  if (has_file_system_) nonsense("two file systems");
  has_file_system_ = true;
  volume_.block_bytes = in.value<std::uint64_t>();
  volume_.files.reserve(std::min(in.value<std::uint64_t>(), kReservedFilesMax));
  volume_.dirty = in.value<std::uint8_t>() != 0;
  volume_.type = in.text();
  volume_.label = in.text();
  volume_.uuid = in.text();
  if (volume_.block_bytes > kGiB) nonsense("an absurd block size");
}

void LayoutStreamReader::read_file(Cursor& in) {
  const auto header = in.value<FileHeader>();
  if (volume_.files.size() >= limits::kFilesMax) throw Error(ErrorCode::kLimit, "it holds too many files");
  if (header.path_bytes > limits::kPathBytesMax || header.target_bytes > limits::kPathBytesMax) {
    nonsense("a path is too long");
  }
  if (header.type > static_cast<std::uint8_t>(FileType::kSocket)) nonsense("a file of an unknown type");
  if (header.size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    nonsense("an absurd file size");
  }
  charge(sizeof(FileEntry) + header.path_bytes + header.target_bytes);
  const std::string_view path = as_text(in.take(header.path_bytes));
  const std::string_view target = as_text(in.take(header.target_bytes));
  if (!is_sane_path(path)) nonsense("a path that is none");
  if (!volume_.files.empty() && std::string_view(volume_.files.back().path) >= path) {
    nonsense("paths out of order");
  }
  FileEntry& entry = volume_.files.emplace_back();
  entry.path = path;
  entry.type = static_cast<FileType>(header.type);
  entry.mode = header.mode & 07777U;
  entry.uid = header.uid;
  entry.gid = header.gid;
  entry.inode = header.inode;
  entry.modified_ns = header.modified_ns;
  entry.size = header.size;
  entry.target = target;
  read_extents(in, entry, header.extent_count);
}

void LayoutStreamReader::read_extents(Cursor& in, FileEntry& entry, std::size_t count) {
  if (count == 0) return;
  if (count >
      limits::kFileExtentsMax - std::min<std::size_t>(entry.extents.size(), limits::kFileExtentsMax)) {
    throw Error(ErrorCode::kLimit, "a file lies in too many pieces");
  }
  if (count > in.left() / sizeof(FileExtent)) nonsense("a record ends too early");
  charge(count * sizeof(FileExtent));
  std::uint64_t written_to =
      entry.extents.empty() ? 0 : entry.extents.back().file_offset + entry.extents.back().length;
  for (std::size_t i = 0; i < count; ++i) {
    const auto extent = in.value<FileExtent>();
    if (extent.length == 0 || extent.file_offset < written_to || extent.file_offset >= entry.size ||
        extent.length > entry.size - extent.file_offset) {
      nonsense("extents outside their file, or out of order");
    }
    if (!is_inside(range_, extent.disk_offset, extent.length)) nonsense("an extent outside the volume");
    written_to = extent.file_offset + extent.length;
    entry.extents.push_back(extent);
  }
}

void LayoutStreamReader::read_free(Cursor& in) {
  const auto range = in.value<ByteRange>();
  charge(sizeof(range));
  const std::uint64_t start = volume_.free.empty() ? range_.offset : volume_.free.back().end();
  if (range.length == 0 || range.offset < start || !is_inside(range_, range.offset, range.length)) {
    nonsense("free space outside the volume, or out of order");
  }
  volume_.free.push_back(range);
}

void LayoutStreamReader::read_piece(Cursor& in) {
  const auto range = in.value<ByteRange>();
  charge(sizeof(range));
  const bool sectors = range.offset % kSectorBytes == 0 && range.length % kSectorBytes == 0;
  if (range.length == 0 || !sectors || !is_inside(range_, range.offset, range.length)) {
    nonsense("a piece of a volume outside the image");
  }
  volume_.pieces.push_back(range);
}

void LayoutStreamReader::read_end(Cursor& in) {
  volume_.inspected = in.value<std::uint8_t>() != 0;
  if (!volume_.inspected && (!volume_.files.empty() || !volume_.free.empty())) {
    nonsense("files of a file system that it did not read");
  }
  ended_ = true;
}

Layout LayoutStreamReader::take() {
  VMPACK_ASSERT(ended_);
  if (expect_ == Expect::kVolume) layout_.volumes.push_back(std::move(volume_));
  return std::move(layout_);
}

}  // namespace vmpack
