// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/export_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <ctime>
#include <optional>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/key.hpp"

namespace vmpack {
namespace {

constexpr std::array<char, 8> kMagic = {'v', 'm', 'p', 'a', 'c', 'k', '\r', '\n'};
constexpr std::uint32_t kKind = 0x50584556;         // "VEXP"
constexpr std::uint32_t kRecordMagic = 0x43455256;  // "VREC"
constexpr std::uint64_t kKnownFeatures = 0;
constexpr std::size_t kRecordsMax = 1'000'000;
constexpr std::array<std::string_view, 7> kPlaces = {"export.json", "vmpack.json", "snapshots/", "maps/",
                                                     "files/",      "notes/",      "packs/"};

/// On disk, little-endian.
struct Head {
  std::array<char, 8> magic = kMagic;
  std::uint32_t kind = kKind;
  std::uint32_t version = kFormatVersion;
  std::uint64_t required_features = 0;
  std::uint64_t checksum = 0;  // XXH3 of the bytes before
};
static_assert(sizeof(Head) == 32);

/// Before each file; its key and bytes follow. Without a key it is the last, and `bytes` the number of files.
struct RecordHead {
  std::uint32_t magic = kRecordMagic;
  std::uint32_t key_bytes = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reserved = 0;
  std::uint64_t checksum = 0;  // XXH3 of the bytes before, and the key
};
static_assert(sizeof(RecordHead) == 32);

std::uint64_t checksum_of(const Head& head) {
  return xxh3(struct_bytes(head).first(offsetof(Head, checksum)));
}

std::uint64_t checksum_of(const RecordHead& head, std::string_view key) {
  const ByteView fixed = struct_bytes(head).first(offsetof(RecordHead, checksum));
  Bytes bytes(fixed.begin(), fixed.end());
  append(bytes, as_byte_view(key));
  return xxh3(bytes);
}

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "nothing of it was used; bring the file over again"};
}

Error read_only(std::string_view where) {
  return {ErrorCode::kRefused, fmt::format("{} is an export, and can only be read", where)};
}

/// Reads from front to end.
class Scanner {
 public:
  Scanner(const ReadExport& read, std::string_view where) : read_(read), where_(where) {}

  std::vector<ExportRecord> run() {
    check_head();
    std::unordered_set<std::string> keys;
    while (true) {
      auto record = next();
      if (!record) break;
      if (!keys.insert(record->key).second)
        throw damaged(where_, fmt::format("{} is in it twice", record->key));
      records_.push_back(std::move(*record));
      if (records_.size() > kRecordsMax) {
        throw Error(ErrorCode::kLimit, fmt::format("{} holds more than {} files", where_, kRecordsMax));
      }
    }
    return std::move(records_);
  }

 private:
  template <typename Struct>
  Struct take() {
    Struct value;
    take_bytes(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void take_bytes(ByteSpan into) {
    if (read_(at_, into) != into.size()) throw cut_off();
    at_ += into.size();
  }
  [[nodiscard]] Error cut_off() const {
    return damaged(where_, fmt::format("it ends in the middle, behind {} of its files", records_.size()));
  }

  void check_head() {
    std::array<std::byte, sizeof(Head)> bytes{};
    if (read_(0, bytes) != bytes.size()) throw damaged(where_, "it is shorter than the head of an export");
    const auto head = read_struct<Head>(bytes);
    if (head.magic != kMagic || head.kind != kKind) throw damaged(where_, "it is no export of vmpack");
    if (head.checksum != checksum_of(head)) throw damaged(where_, "the checksum of its head is wrong");
    if (head.version != kFormatVersion) throw_unknown_version(where_, head.version);
    check_required_features(where_, head.required_features, kKnownFeatures);
    at_ = sizeof(Head);
  }

  /// nullopt at the end.
  std::optional<ExportRecord> next() {
    const auto head = take<RecordHead>();
    if (head.magic != kRecordMagic || head.key_bytes > kKeyBytesMax)
      throw damaged(where_, fmt::format("at {} is no file's head", at_ - sizeof(head)));
    std::string key(head.key_bytes, '\0');
    take_bytes(std::as_writable_bytes(std::span(key)));
    if (head.checksum != checksum_of(head, key))
      throw damaged(where_, fmt::format("the checksum of the head at {} is wrong", at_ - sizeof(head)));
    if (key.empty()) {
      check_end(head.bytes);
      return std::nullopt;
    }
    check(key, head.bytes);
    ExportRecord record{std::move(key), at_, head.bytes};
    std::byte last{};
    if (head.bytes > 0 && read_(at_ + head.bytes - 1, std::span(&last, 1)) != 1) throw cut_off();
    at_ += head.bytes;
    return record;
  }

  void check(const std::string& key, std::uint64_t bytes) const {
    try {
      check_key(key, where_);
    } catch (const Error&) {
      throw damaged(where_, "a file in it has a name that is none");
    }
    const auto fits = [&](std::string_view place) {
      return place.ends_with('/') ? key.starts_with(place) : key == place;
    };
    if (std::ranges::none_of(kPlaces, fits)) throw damaged(where_, fmt::format("{} has no place in it", key));
    const std::uint64_t most = key.starts_with("packs/") ? limits::kPackBytesMax : limits::kJsonBytesMax;
    if (bytes > most) {
      throw Error(ErrorCode::kLimit,
                  fmt::format("{} in {} is of {} bytes, over the limit of {}", key, where_, bytes, most));
    }
  }

  void check_end(std::uint64_t count) const {
    if (count != records_.size()) throw damaged(where_, "it does not hold as many files as its end says");
    std::byte more{};
    if (read_(at_, std::span(&more, 1)) != 0) throw damaged(where_, "something follows its end");
  }

  const ReadExport& read_;
  std::string_view where_;
  std::uint64_t at_ = 0;
  std::vector<ExportRecord> records_;
};

}  // namespace

std::vector<ExportRecord> scan_export(const ReadExport& read, std::string_view where) {
  return Scanner(read, where).run();
}

class ExportWriter::Draft final : public StoreDraft {
 public:
  explicit Draft(ExportWriter& writer) : writer_(writer) {}
  void append(std::span<const ByteView> parts) override {
    for (const ByteView part : parts) vmpack::append(bytes_, part);
  }
  bool put_if_absent(std::string_view key) override { return writer_.put_if_absent(key, bytes_); }

 private:
  ExportWriter& writer_;
  Bytes bytes_;
};

ExportWriter::ExportWriter(int file, std::string where) : file_(file), where_(std::move(where)) {
  Head head;
  head.checksum = checksum_of(head);
  write(struct_bytes(head));
}

void ExportWriter::write(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw system_error(errno, "cannot write", where_);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    bytes_ += static_cast<std::uint64_t>(written);
  }
}

bool ExportWriter::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  check_key(key, where_);
  if (!keys_.emplace(key).second) return false;
  RecordHead head;
  head.key_bytes = static_cast<std::uint32_t>(key.size());
  for (const ByteView part : parts) head.bytes += part.size();
  head.checksum = checksum_of(head, key);
  write(struct_bytes(head));
  write(as_byte_view(key));
  for (const ByteView part : parts) write(part);
  return true;
}

std::unique_ptr<StoreDraft> ExportWriter::begin_draft() { return std::make_unique<Draft>(*this); }

void ExportWriter::finish() {
  RecordHead head;
  head.bytes = keys_.size();
  head.checksum = checksum_of(head, {});
  write(struct_bytes(head));
}

// What is written cannot be read back: it may have gone through a pipe.
bool ExportWriter::replace_if_version(std::string_view, ByteView, const std::optional<StoreVersion>&) {
  throw Error(ErrorCode::kRefused, fmt::format("{} can only be added to", where_));
}
void ExportWriter::get_range(std::string_view key, std::uint64_t, ByteSpan) {
  throw Error(ErrorCode::kRefused, fmt::format("{} cannot be read from {} yet", key, where_));
}
Bytes ExportWriter::get(std::string_view key, std::uint64_t, StoreStat*) {
  throw Error(ErrorCode::kRefused, fmt::format("{} cannot be read from {} yet", key, where_));
}
std::optional<StoreStat> ExportWriter::stat(std::string_view key) {
  if (!keys_.contains(std::string(key))) return std::nullopt;
  return StoreStat{};
}
void ExportWriter::list(std::string_view,
                        const std::function<void(const std::string&, std::uint64_t)>& each) {
  for (const std::string& key : keys_) each(key, 0);
}
void ExportWriter::remove(std::string_view) {
  throw Error(ErrorCode::kRefused, fmt::format("{} can only be added to", where_));
}
std::int64_t ExportWriter::now() { return std::time(nullptr); }
std::string ExportWriter::local_path(std::string_view) { return {}; }

ExportStore::ExportStore(const std::string& path) : ExportStore(FileDescriptor::open(path, O_RDONLY), path) {}

ExportStore::ExportStore(FileDescriptor file, std::string name)
    : path_(std::move(name)), file_(std::move(file)) {
  const auto read = [this](std::uint64_t offset, ByteSpan into) {
    return read_at(file_.get(), into, offset, path_);
  };
  for (ExportRecord& found : scan_export(read, path_)) {
    std::string key = found.key;
    records_.emplace(std::move(key), std::move(found));
  }
  for (const auto& [key, found] : records_) {
    if (!key.starts_with("packs/")) continue;
    const auto pack = pack_of_key(key);
    if (!pack) throw damaged(path_, fmt::format("{} is no name of a pack", key));
    for (const PackFrame& frame : read_pack_tables(*this, *pack).frames) {
      frames_.emplace(frame.digest, FrameLocation{*pack, frame.offset, frame.stored_bytes});
    }
  }
}

std::vector<FrameLocation> ExportStore::locate(const FrameDigest& frame) const {
  const auto found = frames_.find(frame);
  return found == frames_.end() ? std::vector<FrameLocation>{} : std::vector<FrameLocation>{found->second};
}

const ExportRecord& ExportStore::record(std::string_view key) const {
  const auto found = records_.find(key);
  if (found == records_.end()) throw Error(ErrorCode::kNotFound, fmt::format("{} is not in {}", key, path_));
  return found->second;
}

void ExportStore::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  const ExportRecord& found = record(key);
  const bool inside = offset <= found.bytes && into.size() <= found.bytes - offset;
  if (!inside || read_at(file_.get(), into, found.offset + offset, path_) != into.size())
    throw damaged(path_, fmt::format("{} is shorter than it must be", key));
}

Bytes ExportStore::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat_of_it) {
  const ExportRecord& found = record(key);
  if (found.bytes > bytes_max)
    throw Error(ErrorCode::kLimit, fmt::format("{} in {} is too large", key, path_));
  if (stat_of_it != nullptr) *stat_of_it = *stat(key);
  Bytes bytes(found.bytes);
  get_range(key, 0, bytes);
  return bytes;
}

std::optional<StoreStat> ExportStore::stat(std::string_view key) {
  const auto found = records_.find(key);
  if (found == records_.end()) return std::nullopt;
  return StoreStat{found->second.bytes, 0, {fmt::format("{}", found->second.offset)}};
}

void ExportStore::list(std::string_view prefix,
                       const std::function<void(const std::string&, std::uint64_t)>& each) {
  for (auto found = records_.lower_bound(prefix); found != records_.end(); ++found) {
    if (!found->first.starts_with(prefix)) return;
    each(found->first, found->second.bytes);
  }
}

std::int64_t ExportStore::now() { return std::time(nullptr); }
std::string ExportStore::local_path(std::string_view) { return {}; }

bool ExportStore::put_if_absent(std::string_view, std::span<const ByteView>) { throw read_only(path_); }
std::unique_ptr<StoreDraft> ExportStore::begin_draft() { throw read_only(path_); }
bool ExportStore::replace_if_version(std::string_view, ByteView, const std::optional<StoreVersion>&) {
  throw read_only(path_);
}
void ExportStore::remove(std::string_view) { throw read_only(path_); }

}  // namespace vmpack
