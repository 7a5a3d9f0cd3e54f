// SPDX-License-Identifier: Apache-2.0
// A store in a folder: a value is a file whose path is its key. Values appear whole, under their key, in one
// step, and are never changed in place. The folder tmp/ holds what is being written, and the lock of those
// who replace.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/store/file_below.hpp"
#include "libvmpack/store/key.hpp"
#include "libvmpack/store/open_files.hpp"
#include "libvmpack/store/store.hpp"
#include "libvmpack/store/temp_file.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kOpenFilesMax = 128;
constexpr const char* kLockName = "lock";

struct SplitKey {
  std::string folder;  // empty: the root
  std::string name;

  explicit SplitKey(std::string_view key) {
    const std::size_t slash = key.rfind('/');
    if (slash != std::string_view::npos) folder = key.substr(0, slash);
    name = slash == std::string_view::npos ? key : key.substr(slash + 1);
  }
};

StoreStat stat_of(const FileDescriptor& file, const std::string& path) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw system_error(errno, "cannot examine", path);
  // What makes the modification time different for each put: TempFile.
  return {.bytes = static_cast<std::uint64_t>(status.st_size),
          .modified_seconds = status.st_mtim.tv_sec,
          .version = {fmt::format("{}-{}-{}.{}", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                                  status.st_mtim.tv_nsec)}};
}

// Held by one replacer or remover at a time, of all threads and processes.
class ReplaceLock {
 public:
  explicit ReplaceLock(const Folder& own)
      : file_(::openat(own.descriptor.get(), kLockName, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) {
    const std::string path = own.path + "/" + kLockName;
    if (!file_) throw system_error(errno, "cannot open", path);
    while (::flock(file_.get(), LOCK_EX) != 0) {
      if (errno != EINTR) throw system_error(errno, "cannot lock", path);
    }
  }
  // Unlocked by hand: a process that was forked meanwhile has the descriptor too.
  ~ReplaceLock() { ::flock(file_.get(), LOCK_UN); }
  ReplaceLock(const ReplaceLock&) = delete;
  ReplaceLock& operator=(const ReplaceLock&) = delete;

 private:
  FileDescriptor file_;
};

struct FolderEntry {
  std::string name;  // with a '/' behind a folder's, so that entries sort like the keys they lead to
  std::uint64_t bytes = 0;
};

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// What of an open folder can lead to keys, sorted. Symbolic links and devices are passed over.
std::vector<FolderEntry> folder_entries(DIR* folder, const std::string& path) {
  std::vector<FolderEntry> entries;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(folder);  // NOLINT(concurrency-mt-unsafe): unsafe on one stream only
    if (entry == nullptr) break;
    if (!is_key_part(entry->d_name)) continue;
    if (entry->d_type == DT_DIR) {
      entries.push_back({std::string(entry->d_name) + "/", 0});
      continue;
    }
    struct stat status{};
    if (::fstatat(::dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      continue;  // removed meanwhile
    if (S_ISDIR(status.st_mode)) entries.push_back({std::string(entry->d_name) + "/", 0});
    if (S_ISREG(status.st_mode))
      entries.push_back({entry->d_name, static_cast<std::uint64_t>(status.st_size)});
  }
  if (errno != 0) throw system_error(errno, "cannot read the folder", path);
  std::ranges::sort(entries, {}, &FolderEntry::name);
  return entries;
}

class DirectoryStore final : public Store {
 public:
  explicit DirectoryStore(const std::string& path)
      : root_{FileDescriptor::open(path, O_RDONLY | O_DIRECTORY), path},
        absolute_path_(std::filesystem::absolute(path).string()) {}

  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override;
  using Store::put_if_absent;
  std::unique_ptr<StoreDraft> begin_draft() override;
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override;
  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override;
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override;
  std::optional<StoreStat> stat(std::string_view key) override;
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override;
  void remove(std::string_view key) override;
  std::int64_t now() override;
  std::string local_path(std::string_view key) override;
  [[nodiscard]] std::string location() const override { return root_.path; }

 private:
  class Draft;
  using Each = std::function<void(const std::string& key, std::uint64_t bytes)>;

  [[nodiscard]] std::string path_of(std::string_view key) const {
    return fmt::format("{}/{}", root_.path, key);
  }
  [[nodiscard]] FileDescriptor open_value(std::string_view key) const;
  [[nodiscard]] std::optional<StoreVersion> version_of(std::string_view key) const;
  void list_folder(FileDescriptor folder, const std::string& prefix, std::size_t depth,
                   const Each& each) const;

  // Made when something is first written, never for reading.
  const Folder& own_folder();
  // Whether the key is there, and then durable. It may be so new that its writer has not yet made its name
  // that: the caller will build on it, so that is done for both.
  [[nodiscard]] bool has_durably(std::string_view key);
  // Gives a finished file its key unless that is there.
  [[nodiscard]] bool publish_new(TempFile& file, std::string_view key);
  // Makes an entry of the folder durable, and the folder itself if this process has not seen to it before.
  void make_durable(const std::string& folder_key, const FileDescriptor& folder);

  const Folder root_;
  const std::string absolute_path_;
  OpenFiles open_files_{kOpenFilesMax};
  std::once_flag own_folder_made_;
  Folder own_folder_;
  std::mutex mutex_;
  std::unordered_set<std::string> durable_folders_;  // guarded by mutex_
};

FileDescriptor DirectoryStore::open_value(std::string_view key) const {
  FileDescriptor file = open_file_below(root_, key);
  if (!file) throw system_error(ENOENT, "cannot open", path_of(key));
  return file;
}

std::optional<StoreVersion> DirectoryStore::version_of(std::string_view key) const {
  const FileDescriptor file = open_file_below(root_, key);
  if (!file) return std::nullopt;
  return stat_of(file, path_of(key)).version;
}

const Folder& DirectoryStore::own_folder() {
  std::call_once(own_folder_made_, [this] {
    own_folder_ = {make_folder_below(root_, kStoreOwnPart), path_of(kStoreOwnPart)};
    remove_leftovers(own_folder_);
  });
  return own_folder_;
}

void DirectoryStore::make_durable(const std::string& folder_key, const FileDescriptor& folder) {
  sync_folder(folder.get(), path_of(folder_key));
  {
    const std::lock_guard lock(mutex_);
    if (durable_folders_.contains(folder_key)) return;
  }
  for (std::string key = folder_key; !key.empty();) {
    key = SplitKey(key).folder;
    sync_folder(open_folder_below(root_, key).get(), path_of(key));
  }
  const std::lock_guard lock(mutex_);
  durable_folders_.insert(folder_key);
}

bool DirectoryStore::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  check_key(key, root_.path);
  if (has_durably(key)) return false;  // saves writing a big value in vain
  TempFile file(own_folder(), path_of(key));
  file.write(parts);
  file.finish();
  return publish_new(file, key);
}

bool DirectoryStore::has_durably(std::string_view key) {
  if (!open_file_below(root_, key)) return false;
  const SplitKey place(key);
  make_durable(place.folder, open_folder_below(root_, place.folder));
  return true;
}

bool DirectoryStore::publish_new(TempFile& file, std::string_view key) {
  const SplitKey place(key);
  const FileDescriptor folder = make_folder_below(root_, place.folder);
  const bool stored = file.publish_new(folder.get(), place.name);
  if (!stored && open_folder_below(root_, key)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is a folder of other values", path_of(key)));
  }
  make_durable(place.folder, folder);
  return stored;
}

class DirectoryStore::Draft final : public StoreDraft {
 public:
  explicit Draft(DirectoryStore& store) : store_(store), file_(store.own_folder(), store.path_of("")) {}

  void append(std::span<const ByteView> parts) override { file_.write(parts); }

  bool put_if_absent(std::string_view key) override {
    check_key(key, store_.root_.path);
    if (store_.has_durably(key)) return false;
    file_.finish();
    return store_.publish_new(file_, key);
  }

 private:
  DirectoryStore& store_;
  TempFile file_;
};

std::unique_ptr<StoreDraft> DirectoryStore::begin_draft() { return std::make_unique<Draft>(*this); }

bool DirectoryStore::replace_if_version(std::string_view key, ByteView bytes,
                                        const std::optional<StoreVersion>& expected) {
  check_key(key, root_.path);
  if (!expected) return put_if_absent(key, bytes);
  if (version_of(key) != expected) return false;
  const SplitKey place(key);
  TempFile file(own_folder(), path_of(key));
  file.write(std::span(&bytes, 1));
  file.finish();
  const ReplaceLock lock(own_folder());
  if (version_of(key) != expected) return false;
  const FileDescriptor folder = make_folder_below(root_, place.folder);
  file.publish(folder.get(), place.name);
  make_durable(place.folder, folder);
  return true;
}

void DirectoryStore::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  std::shared_ptr<const FileDescriptor> file = open_files_.find(key);
  if (!file) {
    check_key(key, root_.path);
    file = std::make_shared<FileDescriptor>(open_value(key));
    open_files_.add(key, file);
  }
  if (read_at(file->get(), into, offset, path_of(key)) != into.size()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: it ends after {} bytes, and {} from offset {} were to be read",
                            path_of(key), stat_of(*file, path_of(key)).bytes, into.size(), offset));
  }
}

Bytes DirectoryStore::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) {
  check_key(key, root_.path);
  const FileDescriptor file = open_value(key);
  const StoreStat found = stat_of(file, path_of(key));
  if (found.bytes > bytes_max) {
    throw Error(ErrorCode::kLimit,
                fmt::format("{} has {} bytes, over the limit of {}", path_of(key), found.bytes, bytes_max));
  }
  Bytes bytes(found.bytes);
  if (read_at(file.get(), bytes, 0, path_of(key)) != bytes.size()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: it was cut short while it was read", path_of(key)));
  }
  if (stat != nullptr) *stat = found;
  return bytes;
}

std::optional<StoreStat> DirectoryStore::stat(std::string_view key) {
  check_key(key, root_.path);
  const FileDescriptor file = open_file_below(root_, key);
  if (!file) return std::nullopt;
  return stat_of(file, path_of(key));
}

void DirectoryStore::list(std::string_view prefix, const Each& each) {
  check_key_prefix(prefix, root_.path);
  FileDescriptor folder = open_folder_below(root_, prefix);
  const auto depth = static_cast<std::size_t>(std::ranges::count(prefix, '/'));
  if (folder) list_folder(std::move(folder), std::string(prefix), depth, each);
}

void DirectoryStore::list_folder(FileDescriptor folder, const std::string& prefix, std::size_t depth,
                                 const Each& each) const {
  const std::unique_ptr<DIR, CloseFolder> stream(::fdopendir(folder.get()));
  if (!stream) throw system_error(errno, "cannot read the folder", path_of(prefix));
  static_cast<void>(folder.release());
  for (const FolderEntry& entry : folder_entries(stream.get(), path_of(prefix))) {
    if (!entry.name.ends_with('/')) {
      each(prefix + entry.name, entry.bytes);
      continue;
    }
    // mke2fs puts lost+found into the root of its file systems, for the administrator alone.
    const bool own = prefix.empty() && entry.name == std::string(kStoreOwnPart) + "/";
    if (own || entry.name == "lost+found/" || depth + 1 >= kKeyPartsMax) continue;
    FileDescriptor next(
        ::openat(::dirfd(stream.get()), entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next && errno == ENOENT) continue;
    if (!next) throw system_error(errno, "cannot open the folder", path_of(prefix + entry.name));
    list_folder(std::move(next), prefix + entry.name, depth + 1, each);
  }
}

void DirectoryStore::remove(std::string_view key) {
  check_key(key, root_.path);
  if (!open_file_below(root_, key)) return;
  const SplitKey place(key);
  const ReplaceLock lock(own_folder());
  const FileDescriptor folder = open_folder_below(root_, place.folder);
  if (::unlinkat(folder.get(), place.name.c_str(), 0) != 0 && errno != ENOENT) {
    throw system_error(errno, "cannot remove", path_of(key));
  }
  sync_folder(folder.get(), path_of(place.folder));
}

// Files get their times from the same clock. On a network file system that is the server's: keep the clocks
// in step.
std::int64_t DirectoryStore::now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since_1970).count();
}

std::string DirectoryStore::local_path(std::string_view key) {
  check_key(key, root_.path);
  return fmt::format("{}/{}", absolute_path_, key);
}

}  // namespace

std::unique_ptr<Store> open_directory_store(const std::string& path) {
  return std::make_unique<DirectoryStore>(path);
}

}  // namespace vmpack
