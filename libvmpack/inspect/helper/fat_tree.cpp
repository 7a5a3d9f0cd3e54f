// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/fat_tree.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <span>

#include "libvmpack/inspect/helper/utf16.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kEntryBytes = 32;
constexpr std::uint8_t kEndOfDirectory = 0x00;
constexpr std::uint8_t kDeleted = 0xe5;
constexpr unsigned kVolumeLabel = 0x08;
constexpr unsigned kDirectory = 0x10;
constexpr unsigned kLongName = 0x0f;

template <typename T>
T at(ByteView entry, std::size_t offset) {
  return read_struct<T>(entry.subspan(offset));
}

/// Of local time, wherever that was: taken for UTC. 0 where it is no date.
std::int64_t modified_ns(ByteView entry) {
  const unsigned date = at<std::uint16_t>(entry, 24);
  const unsigned time = at<std::uint16_t>(entry, 22);
  const std::chrono::year_month_day day{std::chrono::year(1980 + static_cast<int>(date >> 9U)),
                                        std::chrono::month(date >> 5U & 0xfU),
                                        std::chrono::day(date & 0x1fU)};
  if (!day.ok()) return 0;
  const auto since_1970 = std::chrono::sys_days(day).time_since_epoch() + std::chrono::hours(time >> 11U) +
                          std::chrono::minutes(time >> 5U & 0x3fU) + std::chrono::seconds(2 * (time & 0x1fU));
  return std::chrono::nanoseconds(since_1970).count();
}

/// From 0x80 on. Which code page short names are in is written nowhere; this is what DOS had, and what Linux
/// takes them for.
constexpr auto kCodePage437 = std::to_array<std::uint16_t>(
    {0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
     0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
     0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
     0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
     0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
     0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
     0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
     0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
     0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
     0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0});

void append_character(std::string& to, char c) {
  constexpr unsigned kAscii = 0x80;
  const auto code = static_cast<std::uint8_t>(c);
  if (code < kAscii) {
    to += c;
  } else {
    append_utf8(to, struct_bytes(kCodePage437[code - kAscii]));
  }
}

/// Eight and three characters.
void append_short_name(std::string& to, ByteView entry) {
  constexpr unsigned kLowerBase = 0x08;
  constexpr unsigned kLowerExtension = 0x10;
  constexpr std::uint8_t kEscapedDeleted = 0x05;
  const unsigned lower = at<std::uint8_t>(entry, 12);
  const auto append_part = [&to](std::string_view part, bool is_lower) {
    part = part.substr(0, part.find_last_not_of(' ') + 1);
    for (const char c : part) {
      append_character(to, is_lower && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c);
    }
  };
  std::string text(as_text(entry.first(11)));
  if (static_cast<std::uint8_t>(text[0]) == kEscapedDeleted) text[0] = static_cast<char>(kDeleted);
  const std::string_view name = text;
  append_part(name.substr(0, 8), (lower & kLowerBase) != 0);
  if (name.substr(8).find_last_not_of(' ') == std::string_view::npos) return;
  to += '.';
  append_part(name.substr(8), (lower & kLowerExtension) != 0);
}

std::uint8_t checksum_of(ByteView short_name) {
  std::uint8_t sum = 0;
  for (const std::byte byte : short_name) {
    sum = static_cast<std::uint8_t>((sum >> 1U | sum << 7U) + static_cast<std::uint8_t>(byte));
  }
  return sum;
}

}  // namespace

/// A name in UTF-16 that comes in pieces, last piece first, before the entry that it belongs to.
class FatTree::LongName {
 public:
  void add(ByteView entry) {
    const unsigned order = at<std::uint8_t>(entry, 0);
    const auto checksum = at<std::uint8_t>(entry, 13);
    const unsigned number = order & kNumberMask;
    if ((order & kLast) != 0) {
      next_ = number;
      checksum_ = checksum;
      pieces_ = number;
    }
    if (number == 0 || number > kPiecesMax || number != next_ || checksum != checksum_) {
      clear();
      return;
    }
    const auto into = std::span(name_).subspan((number - 1) * kPieceBytes, kPieceBytes);
    auto out = std::ranges::copy(entry.subspan(1, 10), into.begin()).out;
    out = std::ranges::copy(entry.subspan(14, 12), out).out;
    std::ranges::copy(entry.subspan(28, 4), out);
    --next_;
  }

  void clear() { pieces_ = 0; }

  /// False when there is none that belongs to `entry`.
  bool append_to(std::string& to, ByteView entry) const {
    if (pieces_ == 0 || next_ != 0 || checksum_of(entry.first(11)) != checksum_) return false;
    const ByteView whole = ByteView(name_).first(pieces_ * kPieceBytes);
    std::size_t length = 0;
    while (length < whole.size() && at<std::uint16_t>(whole, length) != 0) length += 2;
    append_utf8(to, whole.first(length));
    return length > 0;
  }

 private:
  static constexpr unsigned kLast = 0x40;
  static constexpr unsigned kNumberMask = 0x3f;
  static constexpr unsigned kPiecesMax = 20;
  static constexpr std::size_t kPieceBytes = 26;

  std::array<std::byte, kPiecesMax * kPieceBytes> name_{};
  unsigned pieces_ = 0;
  unsigned next_ = 0;  ///< the piece that must come now
  std::uint8_t checksum_ = 0;
};

FatTree::FatTree(ImageClient& image, const FatGeometry& geometry, const FatTable& table, FileTree& tree)
    : image_(image),
      geometry_(geometry),
      table_(table),
      tree_(tree),
      claimed_(geometry.clusters + FatTable::kFirstCluster) {
  claimed_.set_free(0, claimed_.size());
}

std::uint64_t FatTree::offset_of(std::uint32_t cluster) const {
  return geometry_.data_offset + (cluster - FatTable::kFirstCluster) * geometry_.cluster_bytes;
}

void FatTree::read_all() {
  root_ = tree_.add({.type = FileType::kDirectory});
  to_list_.push_back({0, geometry_.root_cluster});
  while (!to_list_.empty()) {
    const Directory directory = to_list_.front();
    to_list_.pop_front();
    list(directory);
  }
}

/// Fills chain_ and claims its clusters. Nobody gets a cluster twice, so that chains that loop or meet end,
/// and all of them together are no longer than the table.
void FatTree::follow(std::uint32_t first, std::uint64_t clusters_max) {
  chain_.clusters.clear();
  chain_.damaged = false;
  for (std::uint32_t cluster = first; chain_.clusters.size() < clusters_max; cluster = table_.next(cluster)) {
    if (!chain_.clusters.empty() && table_.is_end(cluster)) return;
    if (!table_.is_cluster(cluster) || claimed_.in_use(cluster)) {
      chain_.damaged = true;
      return;
    }
    if (table_.is_free(cluster)) has_files_in_free_space_ = true;
    claimed_.set_used(cluster, 1);
    chain_.clusters.push_back(cluster);
  }
}

std::vector<ByteRange> FatTree::places_of(const Directory& directory) {
  if (directory.cluster == 0 && geometry_.entry_bits != 32) return {geometry_.root};
  follow(directory.cluster, geometry_.clusters);
  if (chain_.damaged) ++tree_.damage().directories;
  std::vector<ByteRange> places;
  places.reserve(chain_.clusters.size());
  for (const std::uint32_t cluster : chain_.clusters) {
    places.push_back({offset_of(cluster), geometry_.cluster_bytes});
  }
  return places;
}

void FatTree::list(const Directory& directory) {
  LongName long_name;
  for (const ByteRange& place : places_of(directory)) {
    buffer_.resize(place.length);
    if (!image_.read(place.offset, buffer_)) {
      ++tree_.damage().directories;
      long_name.clear();
      continue;
    }
    for (std::size_t i = 0; i + kEntryBytes <= buffer_.size(); i += kEntryBytes) {
      const ByteView entry = ByteView(buffer_).subspan(i, kEntryBytes);
      const auto first = at<std::uint8_t>(entry, 0);
      if (first == kEndOfDirectory) return;
      const unsigned attributes = at<std::uint8_t>(entry, 11);
      if (first == kDeleted) {
        long_name.clear();
      } else if ((attributes & 0x3fU) == kLongName) {
        long_name.add(entry);
      } else {
        if ((attributes & kVolumeLabel) == 0) {
          add_entry(directory, entry, (place.offset + i) / kEntryBytes, long_name);
        } else if (directory.key == 0 && label_.empty()) {
          for (const char c : as_text(entry.first(11))) append_character(label_, c);
          label_.resize(label_.find_last_not_of(' ') + 1);
        }
        long_name.clear();
      }
    }
  }
}

void FatTree::add_entry(const Directory& directory, ByteView entry, std::uint64_t number,
                        LongName& long_name) {
  name_.clear();
  if (!long_name.append_to(name_, entry)) append_short_name(name_, entry);
  if (name_ == "." || name_ == "..") return;
  FileTree::File facts;
  facts.key = number;
  facts.inode = number;
  facts.modified_ns = modified_ns(entry);
  std::uint32_t cluster = at<std::uint16_t>(entry, 26);
  if (geometry_.entry_bits == 32) cluster |= std::uint32_t{at<std::uint16_t>(entry, 20)} << 16U;
  if ((at<std::uint8_t>(entry, 11) & kDirectory) != 0) {
    facts.type = FileType::kDirectory;
    // One without a cluster is damaged: each has a name for itself and one for its parent.
    if (cluster == 0) {
      ++tree_.damage().directories;
    } else {
      to_list_.push_back({facts.key, cluster});
    }
  } else {
    facts.size = at<std::uint32_t>(entry, 28);
  }
  const FileTree::Index index = tree_.add(facts);
  tree_.add_name(directory.key, index, name_);
  if (facts.size > 0) add_content(cluster, facts.size);
}

void FatTree::add_content(std::uint32_t first, std::uint64_t size) {
  follow(first, divide_up(size, geometry_.cluster_bytes));
  std::uint64_t done = 0;
  for (const std::uint32_t cluster : chain_.clusters) {
    const std::uint64_t length = std::min(geometry_.cluster_bytes, size - done);
    tree_.add_run(done, offset_of(cluster), length);
    done += length;
  }
  if (chain_.damaged || done < size) tree_.spoil_last();
}

}  // namespace vmpack
