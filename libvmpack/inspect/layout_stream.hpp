// SPDX-License-Identifier: Apache-2.0
// What the child that parses a file system tells its parent: a stream of length-prefixed records in the
// machine's own byte order. The writer runs in the child. The reader runs in the parent and believes nothing:
// the child may have been taken over by the image that it parsed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/inspect/layout.hpp"

namespace vmpack {

namespace layout_stream {

enum class Record : std::uint32_t {
  kTable = 1,       ///< partition table: kind, disk id
  kPartition = 2,   ///< range, number, partition type, type where that alone tells it
  kFileSystem = 3,  ///< block size, number of files, dirty, type, label, uuid
  kFiles = 4,       ///< file entries, sorted by path
  kExtents = 5,     ///< more extents of the last file
  kFree = 6,        ///< free ranges, sorted
  kWarning = 7,     ///< text
  kEnd = 8,         ///< whether files and free space are known; another stream may follow
  kPieces = 9,      ///< where in the image the volume lies, where the reader cannot know
};

struct RecordHeader {
  std::uint32_t kind = 0;
  std::uint32_t length = 0;  ///< bytes that follow
};

/// Followed by path, target and extents.
struct FileHeader {
  std::uint64_t inode = 0;
  std::int64_t modified_ns = 0;
  std::uint64_t size = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t extent_count = 0;
  std::uint16_t mode = 0;
  std::uint16_t path_bytes = 0;
  std::uint16_t target_bytes = 0;
  std::uint8_t type = 0;
  std::array<std::uint8_t, 5> reserved{};
};
static_assert(sizeof(FileHeader) == 48 && sizeof(FileExtent) == 24 && sizeof(ByteRange) == 16);

/// One record's payload; also the most that the reader holds of an unfinished one.
inline constexpr std::uint64_t kRecordBytesMax = 1 * kMiB;
inline constexpr std::uint64_t kTextBytesMax = 512;
/// What a volume may take in the parent's memory: some ten million files.
inline constexpr std::uint64_t kVolumeMemoryBytesMax = 2 * kGiB;

}  // namespace layout_stream

/// Gives `volume` what a look inside found, and leaves it its place.
void take_findings(Volume& volume, Volume found);

/// Not for use by two threads at once.
class LayoutStreamWriter {
 public:
  using Sink = std::function<void(ByteView)>;
  explicit LayoutStreamWriter(Sink sink) : sink_(std::move(sink)) {}

  void table(std::string_view kind, std::string_view disk_uuid);
  /// Uses range, number, partition_type and type.
  void partition(const Volume& volume);
  /// Uses block_bytes, dirty, type, label and uuid. `files`: about how many will follow.
  void file_system(const Volume& volume, std::uint64_t files = 0);
  /// In order of path, each path once.
  void file(const FileEntry& entry);
  /// In order of offset.
  void free(ByteRange range);
  /// Pieces of the image that together are the volume, in its own order. Before all files.
  void piece(ByteRange range);
  void warning(std::string_view text);
  /// Ends the stream and hands everything to the sink. What is called next begins another one.
  void end(bool inspected);

 private:
  void open(layout_stream::Record kind, std::size_t more_bytes);
  void close();
  void put_text(std::string_view text);

  Sink sink_;
  Bytes buffer_;                 ///< whole records, and the open one
  std::size_t open_at_ = 0;      ///< of the open record's header in buffer_
  std::uint32_t open_kind_ = 0;  ///< 0: none is open
};

/// Rebuilds what the writer was told, and checks it: order, lengths, that every range lies in the volume,
/// memory.
class LayoutStreamReader {
 public:
  enum class Expect : std::uint8_t {
    kTable,   ///< the table of a whole image
    kVolume,  ///< one file system
  };

  /// `range`: the image, or the volume in the image. All ranges in the stream are image offsets.
  LayoutStreamReader(Expect expect, ByteRange range) : expect_(expect), range_(range) {}

  /// Takes the next bytes of the stream, cut anywhere, and says how many: all, unless the stream ends before.
  /// Throws Error (kDamaged, kLimit) on what the writer above cannot have written; the reader must then be
  /// thrown away.
  std::size_t feed(ByteView bytes);
  /// True when the stream came to its proper end.
  [[nodiscard]] bool ended() const { return ended_; }

  /// kTable: what the report leaves out of the table, for people; empty when nothing.
  [[nodiscard]] const std::string& table_warning() const { return volume_.warning; }
  /// kTable: kind, id and partitions (sorted, inside the image, not overlapping). kVolume: one volume without
  /// its range. Call once, when ended.
  [[nodiscard]] Layout take();

 private:
  class Cursor;
  void record(layout_stream::Record kind, ByteView payload);
  void read_table(Cursor& in);
  void read_partition(Cursor& in);
  void read_file_system(Cursor& in);
  void read_file(Cursor& in);
  void read_extents(Cursor& in, FileEntry& entry, std::size_t count);
  void read_free(Cursor& in);
  void read_piece(Cursor& in);
  void read_end(Cursor& in);
  void charge(std::uint64_t bytes);

  Expect expect_;
  ByteRange range_;
  Bytes pending_;  ///< the start of a record whose end has not come yet
  Layout layout_;
  Volume volume_;
  bool has_file_system_ = false;
  bool ended_ = false;
  std::uint64_t memory_bytes_ = 0;
};

}  // namespace vmpack
