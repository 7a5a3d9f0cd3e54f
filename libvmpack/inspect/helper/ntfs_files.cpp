// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ntfs_files.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "libvmpack/inspect/helper/utf16.hpp"

namespace vmpack {
namespace {

/// The records below this are the file system's own: $MFT, $LogFile, $Extend and so on.
constexpr TSK_INUM_T kFirstUserRecord = 24;

template <typename T>
std::optional<T> resident(const TSK_FS_ATTR* attribute) {
  if (attribute == nullptr || (attribute->flags & TSK_FS_ATTR_RES) == 0 ||
      attribute->size < static_cast<TSK_OFF_T>(sizeof(T))) {
    return {};
  }
  return read_struct<T>(std::as_bytes(std::span(attribute->rd.buf, sizeof(T))));
}

template <typename T, std::size_t N>
T number(const std::uint8_t (&bytes)[N]) {
  static_assert(sizeof(T) == N);
  return read_struct<T>(std::as_bytes(std::span(bytes)));
}

/// What directories call a record: its number, and how often that was used before.
constexpr unsigned kNumberBits = 48;
std::uint64_t reference(TSK_INUM_T number, std::uint64_t sequence) {
  return number | sequence << kNumberBits;
}

/// From hundreds of nanoseconds since 1601.
std::int64_t unix_ns(std::uint64_t windows_time) {
  constexpr std::int64_t kUnixEpoch = 116'444'736'000'000'000;
  constexpr std::int64_t kTicksMax = std::numeric_limits<std::int64_t>::max() / 100;
  constexpr std::uint64_t kWindowsMax = std::numeric_limits<std::int64_t>::max();
  const auto ticks = static_cast<std::int64_t>(std::min(windows_time, kWindowsMax)) - kUnixEpoch;
  return std::clamp(ticks, -kTicksMax, kTicksMax) * 100;
}

bool is_run_on_disk(const TSK_FS_ATTR_RUN& run) {
  return (run.flags & (TSK_FS_ATTR_RUN_FLAG_SPARSE | TSK_FS_ATTR_RUN_FLAG_FILLER)) == 0;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool is_hibernation_file(std::string_view name) {
  return std::ranges::equal(name, std::string_view("hiberfil.sys"), {}, lower);
}

/// Where the volume shadow service keeps what a shadow copy differs in: the copy's GUID and the service's.
bool is_shadow_storage(std::string_view name) {
  constexpr std::string_view kService = "{3808876b-c176-4e48-b7ae-04046e6cc752}";
  return name.size() == 2 * kService.size() &&
         std::ranges::equal(name.substr(kService.size()), kService, {}, lower);
}

bool holds_a_sleeping_system(const TSK_FS_ATTR* data) {
  std::array<char, 4> magic{};
  if (data == nullptr || data->size < static_cast<TSK_OFF_T>(magic.size())) return false;
  if (tsk_fs_attr_read(data, 0, magic.data(), magic.size(), TSK_FS_FILE_READ_FLAG_NONE) !=
      static_cast<ssize_t>(magic.size())) {
    return true;  // it may
  }
  const std::string_view text(magic.data(), magic.size());
  return text == "hibr" || text == "HIBR";
}

}  // namespace

const TSK_FS_ATTR* unnamed_attribute(const TSK_FS_FILE& file, TSK_FS_ATTR_TYPE_ENUM type) {
  if (file.meta == nullptr || file.meta->attr == nullptr) return nullptr;
  for (const TSK_FS_ATTR* at = file.meta->attr->head; at != nullptr; at = at->next) {
    if ((at->flags & TSK_FS_ATTR_INUSE) != 0 && at->type == type &&
        (at->name == nullptr || at->name[0] == '\0')) {
      return at;
    }
  }
  return nullptr;
}

NtfsFiles::NtfsFiles(NTFS_INFO& fs, ByteRange volume, FileTree& tree, ClusterMap& clusters)
    : fs_(fs),
      volume_(volume),
      tree_(tree),
      clusters_(clusters),
      // Every cluster is mapped once, every record read once: room for both and some lists of attributes.
      budget_(1'000'000 + 4 * (clusters.size() + volume.length / fs.mft_rsize_b)),
      record_(fs.mft_rsize_b) {}

void NtfsFiles::read_all() {
  // The last number is a folder that TSK makes up. A table that is larger than the volume has holes.
  const TSK_INUM_T end = std::min<TSK_INUM_T>(fs_.fs_info.last_inum, volume_.length / fs_.mft_rsize_b);
  tree_.reserve(end);
  TskFile file;
  for (TSK_INUM_T record = 0; record < end && budget_.spend(); ++record) {
    if (!is_file(record)) continue;
    // The structure is used again and again; only the first call makes it.
    TSK_FS_FILE* read = tsk_fs_file_open_meta(&fs_.fs_info, file.get(), record);
    if (read == nullptr || read->meta == nullptr) {
      ++damaged_records_;
      continue;
    }
    if (!file) file.reset(read);
    add(*read);
  }
}

// False for records that are not in use, and for those that only continue another one.
bool NtfsFiles::is_file(TSK_INUM_T number_of_record) {
  std::ranges::fill(record_, '\0');
  const TSK_RETVAL_ENUM result = ntfs_dinode_lookup(&fs_, record_.data(), number_of_record);
  const auto record = read_struct<ntfs_mft>(std::as_bytes(std::span(record_)));
  const auto magic = number<std::uint32_t>(record.magic);
  const bool in_use = (magic == NTFS_MFT_MAGIC || magic == NTFS_MFT_MAGIC_BAAD) &&
                      (number<std::uint16_t>(record.flags) & NTFS_MFT_INUSE) != 0;
  if (result == TSK_ERR || (in_use && (result != TSK_OK || magic == NTFS_MFT_MAGIC_BAAD))) {
    ++damaged_records_;
    return false;
  }
  return in_use && std::ranges::all_of(record.base_ref, [](std::uint8_t byte) { return byte == 0; });
}

void NtfsFiles::add(const TSK_FS_FILE& file) {
  const TSK_FS_META& meta = *file.meta;
  for (const TSK_FS_ATTR* at = meta.attr->head; at != nullptr; at = at->next) {
    if ((at->flags & TSK_FS_ATTR_INUSE) != 0 && (at->flags & TSK_FS_ATTR_NONRES) != 0) mark_clusters(*at);
  }
  const TSK_FS_ATTR* data = unnamed_attribute(file, TSK_FS_ATTR_TYPE_NTFS_DATA);
  FileTree::File facts;
  facts.key = reference(meta.addr, meta.seq);
  facts.inode = meta.addr;
  facts.hidden = meta.addr < kFirstUserRecord && meta.addr != NTFS_ROOTINO;
  facts.type = meta.type == TSK_FS_META_TYPE_DIR ? FileType::kDirectory : FileType::kRegular;
  if (facts.type == FileType::kRegular && data != nullptr && data->size > 0) {
    facts.size = static_cast<std::uint64_t>(data->size);
  }
  // $STANDARD_INFORMATION begins with the times of creation and of the last change to the content.
  if (const auto times =
          resident<std::array<std::uint64_t, 2>>(unnamed_attribute(file, TSK_FS_ATTR_TYPE_NTFS_SI))) {
    facts.modified_ns = unix_ns((*times)[1]);
  }
  const FileTree::Index index = tree_.add(facts);
  if (meta.addr == NTFS_ROOTINO && facts.type == FileType::kDirectory) root_ = index;
  if (facts.size > 0 && !facts.hidden) add_content(file, *data);
  add_names(file, index);
}

void NtfsFiles::mark_clusters(const TSK_FS_ATTR& attribute) {
  for (const TSK_FS_ATTR_RUN* run = attribute.nrd.run; run != nullptr && budget_.spend(); run = run->next) {
    if (!is_run_on_disk(*run)) continue;
    if (!clusters_.all_in_use(run->addr, run->len)) has_files_in_free_space_ = true;
    clusters_.set_used(run->addr, run->len);
  }
}

void NtfsFiles::add_content(const TSK_FS_FILE& file, const TSK_FS_ATTR& data) {
  // Any compressed stream makes the file suspect: of a stream in many records, TSK may take the word of one
  // that does not say it.
  const bool plain = (data.flags & TSK_FS_ATTR_NONRES) != 0 &&
                     (data.flags & (TSK_FS_ATTR_COMP | TSK_FS_ATTR_ENC)) == 0 &&
                     (file.meta->flags & TSK_FS_META_FLAG_COMP) == 0;
  // What a reparse point's file reads as is made by a filter, which keeps the content elsewhere or packed.
  if (!plain || unnamed_attribute(file, TSK_FS_ATTR_TYPE_NTFS_REPARSE) != nullptr) return;
  const std::uint64_t cluster_bytes = fs_.csize_b;
  const auto size = static_cast<std::uint64_t>(data.size);
  // What lies behind was never written, and reads as zeros whatever the clusters hold.
  const auto written = std::min(size, static_cast<std::uint64_t>(std::max<TSK_OFF_T>(data.nrd.initsize, 0)));
  std::uint64_t covered = 0;
  for (const TSK_FS_ATTR_RUN* run = data.nrd.run; run != nullptr; run = run->next) {
    const std::uint64_t offset = run->offset * cluster_bytes;
    if (offset >= written) break;
    if (offset != covered || (run->flags & TSK_FS_ATTR_RUN_FLAG_FILLER) != 0) break;
    const std::uint64_t length = std::min(run->len * cluster_bytes, written - offset);
    covered = offset + length;
    if (is_run_on_disk(*run)) tree_.add_run(offset, run->addr * cluster_bytes, length);
  }
  if (covered < written) tree_.spoil_last();
}

void NtfsFiles::add_names(const TSK_FS_FILE& file, FileTree::Index index) {
  if (file.meta->addr == NTFS_ROOTINO) return;  // its only name is "." in itself
  bool has_name = false;
  for (const TSK_FS_ATTR* at = file.meta->attr->head; at != nullptr; at = at->next) {
    if ((at->flags & TSK_FS_ATTR_INUSE) == 0 || at->type != TSK_FS_ATTR_TYPE_NTFS_FNAME) continue;
    const auto fixed = resident<ntfs_attr_fname>(at);
    constexpr std::size_t kNameAt = offsetof(ntfs_attr_fname, name);
    const std::size_t name_bytes = fixed ? std::size_t{fixed->nlen} * 2 : 0;
    if (!fixed || kNameAt + name_bytes > static_cast<std::uint64_t>(at->size)) {
      ++tree_.damage().names;
      continue;
    }
    has_name = true;
    if (fixed->nspace == NTFS_FNAME_DOS) continue;  // the short form of another name
    name_.clear();
    append_utf8(name_, std::as_bytes(std::span(at->rd.buf + kNameAt, name_bytes)));
    const auto directory = *resident<std::uint64_t>(at);  // number and use of the record, as in reference()
    if (directory % (TSK_INUM_T{1} << kNumberBits) == NTFS_ROOTINO && is_hibernation_file(name_)) {
      is_hibernated_ = holds_a_sleeping_system(unnamed_attribute(file, TSK_FS_ATTR_TYPE_NTFS_DATA));
    }
    if (is_shadow_storage(name_)) has_shadow_copies_ = true;
    tree_.add_name(directory, index, name_);
  }
  if (!has_name && file.meta->addr >= kFirstUserRecord) ++tree_.damage().names;
}

}  // namespace vmpack
