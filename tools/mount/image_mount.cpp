// SPDX-License-Identifier: Apache-2.0
#include "tools/mount/image_mount.hpp"

#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fmt/core.h>
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/units.hpp"
#include "tools/mount/next_range.hpp"

namespace vmpack {
namespace {

constexpr fuse_ino_t kFolderInode = FUSE_ROOT_ID;
constexpr fuse_ino_t kImageInode = 2;
/// Nothing ever changes: the kernel need not ask again.
constexpr double kForever = 1e9;
constexpr unsigned kIdleThreadsMax = 10;

/// What libfuse had to say while it mounted, for our error.
std::string said_by_fuse;

__attribute__((format(printf, 2, 0))) void keep_message(fuse_log_level, const char* format,
                                                        va_list arguments) {
  std::array<char, 512> line{};
  std::vsnprintf(line.data(), line.size(), format, arguments);
  std::string_view text(line.data());
  if (text.starts_with("fuse: ")) text.remove_prefix(6);
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (said_by_fuse.empty()) said_by_fuse = text;
}

/// libfuse's messages go to keep_message() until destruction.
struct MessageCapture {
  MessageCapture() {
    said_by_fuse.clear();
    fuse_set_log_func(keep_message);
  }
  ~MessageCapture() { fuse_set_log_func(nullptr); }
  MessageCapture(const MessageCapture&) = delete;
  MessageCapture& operator=(const MessageCapture&) = delete;
};

struct DestroySession {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};

/// What the callbacks work on.
class Served {
 public:
  Served(std::shared_ptr<const ImageReader> image, ImageMountOptions options)
      : image_(std::move(image)), options_(std::move(options)) {}

  [[nodiscard]] const ImageReader& image() const { return *image_; }
  [[nodiscard]] const ImageMountOptions& options() const { return options_; }

  [[nodiscard]] struct stat attributes(fuse_ino_t inode) const {
    struct stat status{};
    status.st_ino = inode;
    status.st_uid = ::getuid();
    status.st_gid = ::getgid();
    status.st_mtim.tv_sec = status.st_ctim.tv_sec = status.st_atim.tv_sec = options_.modified_seconds;
    if (inode == kFolderInode) {
      status.st_mode = S_IFDIR | 0555;
      status.st_nlink = 2;
      return status;
    }
    status.st_mode = S_IFREG | 0444;
    status.st_nlink = 1;
    status.st_size = static_cast<off_t>(image_->size());
    status.st_blksize = 4096;
    status.st_blocks =
        static_cast<blkcnt_t>(divide_up(std::min(options_.data_bytes, image_->size()), kSectorBytes));
    return status;
  }

  /// The same message once, however often a reader tries again.
  void report(const std::string& message) {
    const std::lock_guard lock(mutex_);
    if (message == last_message_) return;
    last_message_ = message;
    options_.report(message);
  }

 private:
  std::shared_ptr<const ImageReader> image_;
  ImageMountOptions options_;
  std::mutex mutex_;
  std::string last_message_;  // guarded by mutex_
};

Served& served(fuse_req_t request) { return *static_cast<Served*>(fuse_req_userdata(request)); }

/// Answers by `work`, or with EIO when it throws.
template <typename Work>
void answer(fuse_req_t request, Work work) noexcept {
  try {
    work(served(request));
  } catch (const std::bad_alloc&) {
    fuse_reply_err(request, ENOMEM);
  } catch (const std::exception& error) {
    served(request).report(error.what());
    fuse_reply_err(request, EIO);
  }
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (parent != kFolderInode || std::string_view(name) != kMountedImageName) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  fuse_entry_param entry{};
  entry.ino = kImageInode;
  entry.attr = served(request).attributes(kImageInode);
  entry.attr_timeout = kForever;
  entry.entry_timeout = kForever;
  fuse_reply_entry(request, &entry);
}

void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  const struct stat status = served(request).attributes(inode);
  fuse_reply_attr(request, &status, kForever);
}

void read_folder(fuse_req_t request, fuse_ino_t inode, std::size_t bytes_max, off_t offset, fuse_file_info*) {
  constexpr std::array<std::pair<const char*, fuse_ino_t>, 3> kEntries = {
      {{".", kFolderInode}, {"..", kFolderInode}, {kMountedImageName, kImageInode}}};
  if (inode != kFolderInode) {
    fuse_reply_err(request, ENOTDIR);
    return;
  }
  std::array<char, 512> buffer{};
  std::size_t used = 0;
  for (auto i = static_cast<std::size_t>(offset); i < kEntries.size(); ++i) {
    const struct stat status = served(request).attributes(kEntries[i].second);
    const std::size_t room = std::min(bytes_max, buffer.size()) - used;
    const std::size_t needed = fuse_add_direntry(request, buffer.data() + used, room, kEntries[i].first,
                                                 &status, static_cast<off_t>(i + 1));
    if (needed > room) break;
    used += needed;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void open_image(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  if (inode != kImageInode) {
    fuse_reply_err(request, EISDIR);
  } else if ((file->flags & O_ACCMODE) != O_RDONLY) {
    fuse_reply_err(request, EROFS);
  } else {
    file->keep_cache = 1;
    fuse_reply_open(request, file);
  }
}

void read_image(fuse_req_t request, fuse_ino_t, std::size_t bytes_max, off_t offset, fuse_file_info*) {
  answer(request, [&](const Served& mount) {
    const ImageReader& image = mount.image();
    const auto start = std::min(static_cast<std::uint64_t>(offset), image.size());
    const std::size_t bytes = std::min<std::uint64_t>(bytes_max, image.size() - start);
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(bytes);
    image.read(start, {buffer.get(), bytes});
    fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.get()), bytes);
  });
}

void seek_image(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info*) {
  answer(request, [&](const Served& mount) {
    const ImageReader& image = mount.image();
    const auto start = static_cast<std::uint64_t>(offset);
    const auto found = start >= image.size() ? std::nullopt
                       : whence == SEEK_DATA ? next_data(image, start)
                                             : std::optional(next_hole(image, start));
    if (found) {
      fuse_reply_lseek(request, static_cast<off_t>(*found));
    } else {
      fuse_reply_err(request, ENXIO);
    }
  });
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops operations{};
  operations.lookup = lookup;
  operations.getattr = get_attributes;
  operations.readdir = read_folder;
  operations.open = open_image;
  operations.read = read_image;
  operations.lseek = seek_image;
  return operations;
}

std::string existing_folder(const std::string& path) {
  std::error_code error;
  std::string folder = std::filesystem::canonical(path, error).string();
  if (error) throw system_error(error.value(), "cannot mount on", path);
  if (!std::filesystem::is_directory(folder)) {
    throw Error(ErrorCode::kInvalid, fmt::format("cannot mount on {}: it is not a folder", path));
  }
  return folder;
}

}  // namespace

struct ImageMount::State {
  State(std::shared_ptr<const ImageReader> image, ImageMountOptions options)
      : served(std::move(image), std::move(options)) {}
  ~State() {
    if (mounted) fuse_session_unmount(session.get());
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Served served;
  std::unique_ptr<fuse_session, DestroySession> session;
  bool mounted = false;
};

ImageMount::ImageMount(std::shared_ptr<const ImageReader> image, ImageMountOptions options) {
  options.folder = existing_folder(options.folder);
  if (::access("/dev/fuse", F_OK) != 0) {
    throw Error(ErrorCode::kNotFound, "this system has no FUSE: there is no /dev/fuse",
                "load the kernel's module with 'modprobe fuse'");
  }
  state_ = std::make_unique<State>(std::move(image), std::move(options));
  const ImageMountOptions& chosen = state_->served.options();
  std::string program = "vmpack";
  std::string flag = "-o";
  std::string values = fmt::format("ro,nosuid,nodev,default_permissions,subtype=vmpack,fsname={}{}",
                                   chosen.source, chosen.allow_other ? ",allow_other" : "");
  std::array<char*, 3> argv = {program.data(), flag.data(), values.data()};
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  const fuse_lowlevel_ops callbacks = operations();

  const MessageCapture capture;
  state_->session.reset(fuse_session_new(&arguments, &callbacks, sizeof(callbacks), &state_->served));
  fuse_opt_free_args(&arguments);
  state_->mounted = state_->session && fuse_session_mount(state_->session.get(), chosen.folder.c_str()) == 0;
  if (!state_->mounted) {
    throw Error(ErrorCode::kIo, fmt::format("cannot mount on {}: {}", chosen.folder,
                                            said_by_fuse.empty() ? "FUSE refuses" : printable(said_by_fuse)));
  }
}

ImageMount::~ImageMount() = default;

std::string ImageMount::image_path() const {
  return fmt::format("{}/{}", state_->served.options().folder, kMountedImageName);
}

void ImageMount::continue_in_background() {
  if (fuse_daemonize(0) != 0) throw Error(ErrorCode::kIo, "cannot go on in the background");
}

void ImageMount::serve() {
  fuse_session* session = state_->session.get();
  if (fuse_set_signal_handlers(session) != 0) throw Error(ErrorCode::kIo, "cannot handle signals");
  fuse_loop_config config{.clone_fd = 0, .max_idle_threads = kIdleThreadsMax};
  const int result = fuse_session_loop_mt(session, &config);
  fuse_remove_signal_handlers(session);
  // Above zero: the signal that ended it.
  if (result < 0) throw system_error(-result, "cannot serve", state_->served.options().folder);
}

}  // namespace vmpack
