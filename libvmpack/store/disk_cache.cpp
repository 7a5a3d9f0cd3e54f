// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/disk_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kSegmentBytesMax = 256 * kMiB;
/// What is dropped at once is no more than this part of the cache.
constexpr std::uint64_t kSegmentsMin = 16;
/// Restarts begin a segment each; with more than so many times what a full cache has, the oldest go.
constexpr std::uint64_t kSegmentsTimesMax = 4;
/// Copies that are found in this part, the oldest, are written again: what is used stays.
constexpr std::size_t kOldestPart = 4;

constexpr std::uint32_t kRecordMagic = 0x63'72'6d'76;   // "vmrc"
constexpr std::uint32_t kTrailerMagic = 0x63'74'6d'76;  // "vmtc"
constexpr std::string_view kSegmentSuffix = ".segment";

/// Before each copy, and once more in the segment's table. Little-endian, like all our files.
struct RecordHeader {
  std::uint32_t magic = kRecordMagic;
  std::uint32_t bytes = 0;
  Digest id;
  std::uint64_t checksum = 0;         // XXH3 of the copy
  std::uint64_t header_checksum = 0;  // XXH3 of what is before
};
static_assert(sizeof(RecordHeader) == 56);

/// Ends a segment. The table's records lie just before it.
struct Trailer {
  std::uint32_t magic = kTrailerMagic;
  std::uint32_t records = 0;
  std::uint64_t checksum = 0;  // XXH3 of the table
};
static_assert(sizeof(Trailer) == 16);

std::uint64_t checksum_of(const RecordHeader& header) {
  return xxh3(struct_bytes(header).first(offsetof(RecordHeader, header_checksum)));
}

bool is_sound(const RecordHeader& header) {
  return header.magic == kRecordMagic && header.header_checksum == checksum_of(header);
}

/// The headers of a segment that was closed in order.
std::optional<std::vector<RecordHeader>> read_table(const FileDescriptor& file, std::uint64_t file_bytes,
                                                    const std::string& path) {
  Trailer trailer;
  if (file_bytes < sizeof(trailer)) return std::nullopt;
  Bytes bytes(sizeof(trailer));
  if (read_at(file.get(), bytes, file_bytes - bytes.size(), path) != bytes.size()) return std::nullopt;
  trailer = read_struct<Trailer>(bytes);
  const std::uint64_t table_bytes = std::uint64_t{trailer.records} * sizeof(RecordHeader);
  if (trailer.magic != kTrailerMagic || table_bytes > file_bytes - sizeof(trailer)) return std::nullopt;
  std::vector<RecordHeader> records(trailer.records);
  const ByteSpan table = std::as_writable_bytes(std::span(records));
  if (read_at(file.get(), table, file_bytes - sizeof(trailer) - table_bytes, path) != table_bytes ||
      xxh3(table) != trailer.checksum)
    return std::nullopt;
  return records;
}

/// The same for one whose writer was killed: from record to record, up to the first that is not whole.
std::vector<RecordHeader> scan_records(const FileDescriptor& file, std::uint64_t file_bytes,
                                       const std::string& path) {
  std::vector<RecordHeader> records;
  Bytes bytes(sizeof(RecordHeader));
  for (std::uint64_t at = 0; file_bytes - at >= bytes.size();) {
    if (read_at(file.get(), bytes, at, path) != bytes.size()) break;
    const auto header = read_struct<RecordHeader>(bytes);
    at += bytes.size();
    if (!is_sound(header) || header.bytes > file_bytes - at) break;
    records.push_back(header);
    at += header.bytes;
  }
  return records;
}

/// The number in a segment's file name.
std::optional<std::uint64_t> segment_number(std::string_view name) {
  if (!name.ends_with(kSegmentSuffix)) return std::nullopt;
  name.remove_suffix(kSegmentSuffix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

}  // namespace

/// A file of records. It is gone when its last reader is.
struct DiskCache::Segment {
  Segment(std::uint64_t segment_number, std::string segment_path, int flags)
      : number(segment_number),
        path(std::move(segment_path)),
        file(FileDescriptor::open(path, flags, 0600)) {}

  std::uint64_t number;
  std::string path;
  FileDescriptor file;
  std::uint64_t end = 0;              // of its records
  std::uint64_t file_bytes = 0;       // with its table
  std::vector<RecordHeader> records;  // of the one that is being written

  [[nodiscard]] std::uint64_t closing_bytes(std::size_t more_records) const {
    return (records.size() + more_records) * sizeof(RecordHeader) + sizeof(Trailer);
  }
};

std::shared_ptr<DiskCache> DiskCache::open(const std::string& folder, std::uint64_t bytes_max) {
  if (bytes_max < kDiskCacheBytesMin) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("a disk cache must have at least {} bytes", kDiskCacheBytesMin));
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw system_error(error.value(), "cannot make the folder", folder);
  std::shared_ptr<DiskCache> cache(new DiskCache(folder, bytes_max));
  cache->load();
  return cache;
}

DiskCache::DiskCache(std::string folder, std::uint64_t bytes_max)
    : folder_(std::move(folder)),
      bytes_max_(bytes_max),
      segment_bytes_max_(std::min(kSegmentBytesMax, bytes_max / kSegmentsMin)),
      lock_(FileDescriptor::open(folder_ + "/lock", O_RDWR | O_CREAT, 0600)) {
  statistics_.bytes_max = bytes_max;
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw Error(ErrorCode::kAlreadyExists, fmt::format("another process uses the disk cache in {}", folder_),
                "give each server a folder of its own");
  }
}

DiskCache::~DiskCache() {
  const std::lock_guard lock(mutex_);
  if (!segments_.empty()) seal(*segments_.back());
}

void DiskCache::load() {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (const auto number = segment_number(entry.path().filename().string()))
      found.emplace_back(*number, entry.path());
  }
  std::ranges::sort(found);
  for (const auto& [number, path] : found) {
    next_number_ = std::max(next_number_, number + 1);
    auto segment = std::make_shared<Segment>(number, path, O_RDONLY);
    struct stat status{};
    if (::fstat(segment->file.get(), &status) != 0) throw system_error(errno, "cannot read", path);
    segment->file_bytes = segment->end = static_cast<std::uint64_t>(status.st_size);
    if (segment->file_bytes > kSegmentBytesMax) {  // not ours, and nothing that is read may be larger
      ::unlink(path.c_str());
      continue;
    }
    auto records = read_table(segment->file, segment->file_bytes, path);
    if (!records) records = scan_records(segment->file, segment->file_bytes, path);
    std::uint64_t at = 0;
    for (const RecordHeader& record : *records) {
      if (at + sizeof(RecordHeader) + record.bytes > segment->file_bytes) break;  // no table of ours
      places_[record.id] = {number, static_cast<std::uint32_t>(at), record.bytes};
      at += sizeof(RecordHeader) + record.bytes;
    }
    statistics_.bytes += segment->file_bytes;
    segments_.push_back(std::move(segment));
  }
  const std::uint64_t segments_max = kSegmentsTimesMax * (bytes_max_ / segment_bytes_max_);
  while (statistics_.bytes > bytes_max_ || segments_.size() > segments_max) drop_oldest();
}

std::optional<Bytes> DiskCache::find(const Digest& id) {
  Place place;
  SegmentPtr from;
  bool is_old = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(id);
    if (found == places_.end()) {
      ++statistics_.misses;
      return std::nullopt;
    }
    place = found->second;
    from = segment(place.segment);
    is_old = from->number < segments_[segments_.size() / kOldestPart]->number;
  }
  Bytes record(sizeof(RecordHeader) + place.bytes);
  bool sound = false;
  try {
    sound = read_at(from->file.get(), record, place.offset, from->path) == record.size();
  } catch (const Error&) {
    // A disk that cannot be read is as good as none.
  }
  const auto header = read_struct<RecordHeader>(record);
  record.erase(record.begin(), record.begin() + sizeof(RecordHeader));
  sound = sound && is_sound(header) && header.id == id && header.bytes == place.bytes &&
          header.checksum == xxh3(record);
  const std::lock_guard lock(mutex_);
  if (!sound) {
    ++statistics_.damaged;
    places_.erase(id);
    return std::nullopt;
  }
  ++statistics_.hits;
  if (is_old) append(id, record);
  return record;
}

void DiskCache::keep(const Digest& id, ByteView bytes) {
  const std::lock_guard lock(mutex_);
  if (!places_.contains(id)) append(id, bytes);
}

bool DiskCache::forget(const Digest& id) {
  const std::lock_guard lock(mutex_);
  return places_.erase(id) > 0;
}

void DiskCache::append(const Digest& id, ByteView bytes) {
  if (bytes.size() + 2 * sizeof(RecordHeader) + sizeof(Trailer) > segment_bytes_max_) return;
  try {
    Segment& into = segment_with_room(sizeof(RecordHeader) + bytes.size());
    RecordHeader header{.bytes = static_cast<std::uint32_t>(bytes.size()), .id = id, .checksum = xxh3(bytes)};
    header.header_checksum = checksum_of(header);
    write_at(into.file.get(), struct_bytes(header), into.end, into.path);
    write_at(into.file.get(), bytes, into.end + sizeof(header), into.path);
    places_[id] = {into.number, static_cast<std::uint32_t>(into.end), header.bytes};
    into.records.push_back(header);
    into.end += sizeof(header) + bytes.size();
    statistics_.bytes += into.end - into.file_bytes;
    into.file_bytes = into.end;
  } catch (const Error&) {
    ++statistics_.failed_writes;
    if (segments_.size() > 1) drop_oldest();  // the disk may be full
  }
}

DiskCache::SegmentPtr DiskCache::segment(std::uint64_t number) const {
  return *std::ranges::lower_bound(segments_, number, {}, &Segment::number);
}

DiskCache::Segment& DiskCache::segment_with_room(std::uint64_t bytes) {
  // Those that were loaded are full or were closed: they have no records in memory, and are never written.
  if (!segments_.empty() && !segments_.back()->records.empty()) {
    Segment& last = *segments_.back();
    if (last.end + bytes + last.closing_bytes(1) <= segment_bytes_max_) return last;
    seal(last);
  }
  while (!segments_.empty() && statistics_.bytes + segment_bytes_max_ > bytes_max_) drop_oldest();
  const std::uint64_t number = next_number_++;
  segments_.push_back(std::make_shared<Segment>(
      number, fmt::format("{}/{:012}{}", folder_, number, kSegmentSuffix), O_RDWR | O_CREAT | O_EXCL));
  return *segments_.back();
}

void DiskCache::seal(Segment& segment) {
  if (segment.records.empty()) return;
  const ByteView table = std::as_bytes(std::span(segment.records));
  const Trailer trailer{.records = static_cast<std::uint32_t>(segment.records.size()),
                        .checksum = xxh3(table)};
  try {
    write_at(segment.file.get(), table, segment.end, segment.path);
    write_at(segment.file.get(), struct_bytes(trailer), segment.end + table.size(), segment.path);
  } catch (const Error&) {
    ++statistics_.failed_writes;  // it will be scanned at the next start
  }
  segment.file_bytes += segment.closing_bytes(0);
  statistics_.bytes += segment.closing_bytes(0);
  segment.records.clear();
  segment.records.shrink_to_fit();
}

void DiskCache::drop_oldest() {
  const SegmentPtr oldest = segments_.front();
  segments_.pop_front();
  statistics_.bytes -= oldest->file_bytes;
  ::unlink(oldest->path.c_str());
  std::erase_if(places_, [&](const auto& entry) { return entry.second.segment == oldest->number; });
}

DiskCache::Statistics DiskCache::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace vmpack
