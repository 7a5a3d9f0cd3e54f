// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/volume_files.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

/// As Linux has it.
constexpr int kLinksMax = 40;

/// The page that would hold `path`, or the first one.
std::vector<FileTablePage>::const_iterator page_of(const std::vector<FileTablePage>& pages,
                                                   std::string_view path) {
  const auto behind = std::ranges::upper_bound(
      pages, path, {}, [](const FileTablePage& page) { return std::string_view(page.first_path); });
  return behind == pages.begin() ? behind : std::prev(behind);
}

/// Whether both paths lie below one and the same folder that is itself in the one which `prefix` begins.
bool share_a_subfolder(std::string_view a, std::string_view b, std::string_view prefix) {
  const auto slash = a.find('/', prefix.size());
  return a.starts_with(prefix) && slash != std::string_view::npos && b.starts_with(a.substr(0, slash + 1));
}

/// Goes along a path, from the root of the volume.
class PathWalk {
 public:
  PathWalk(const VolumeFiles& files, std::string_view path) : files_(files) { push(path); }

  std::optional<FileRecord> run(bool follow_last) {
    std::optional<FileRecord> at;
    while (!left_.empty()) {
      const std::string name = std::move(left_.back());
      left_.pop_back();
      if (name == "..") {
        here_.resize(std::min(here_.size(), here_.rfind('/')));
        at.reset();
        continue;
      }
      at = find_file(files_, here_ + "/" + name);
      if (!at) return nothing();
      if (at->entry.type == FileType::kSymlink && (follow_last || !left_.empty())) {
        follow(std::move(at->entry));
        at.reset();
      } else {
        here_ += "/" + name;
      }
    }
    if (at) return at;
    at = find_file(files_, here_.empty() ? "/" : here_);
    return at ? std::move(at) : nothing();
  }

 private:
  /// The last part of what is left comes first.
  void push(std::string_view path) {
    while (!path.empty()) {
      const auto slash = path.rfind('/');
      const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
      if (!name.empty() && name != ".") left_.emplace_back(name);
      path = slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
    }
  }

  void follow(FileEntry link) {
    if (++links_ > kLinksMax) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{} is a symlink that leads in a circle", printable(link.path)));
    }
    if (link.target.starts_with('/')) here_.clear();
    push(link.target);
    last_link_ = std::move(link);
  }

  std::optional<FileRecord> nothing() const {
    if (!last_link_) return std::nullopt;
    throw Error(ErrorCode::kNotFound,
                fmt::format("{} is a symlink to {}, which is not on that volume", printable(last_link_->path),
                            printable(last_link_->target)));
  }

  const VolumeFiles& files_;
  std::vector<std::string> left_;
  std::string here_;  // without a slash at its end
  int links_ = 0;
  std::optional<FileEntry> last_link_;
};

}  // namespace

std::optional<FileRecord> find_file(const VolumeFiles& files, std::string_view path) {
  const auto place = page_of(files.pages, path);
  if (place == files.pages.end()) return std::nullopt;
  std::vector<FileRecord> records = files.read(*place);
  const auto found = std::ranges::find(
      records, path, [](const FileRecord& record) { return std::string_view(record.entry.path); });
  if (found == records.end()) return std::nullopt;
  return std::move(*found);
}

std::optional<FileRecord> follow_path(const VolumeFiles& files, std::string_view path, bool follow_last) {
  return PathWalk(files, path).run(follow_last);
}

void for_each_in(const VolumeFiles& files, std::string_view folder, bool all_below,
                 const std::function<void(FileRecord file)>& each) {
  std::string prefix(folder);
  if (!prefix.ends_with('/')) prefix += '/';
  for (auto place = page_of(files.pages, prefix); place != files.pages.end(); ++place) {
    if (place->first_path > prefix && !place->first_path.starts_with(prefix)) return;
    const auto next = std::next(place);
    const bool too_deep = !all_below && next != files.pages.end() &&
                          share_a_subfolder(place->first_path, next->first_path, prefix);
    if (too_deep) continue;
    for (FileRecord& file : files.read(*place)) {
      const std::string& path = file.entry.path;
      if (!path.starts_with(prefix) || path.size() == prefix.size()) continue;
      if (all_below || path.find('/', prefix.size()) == std::string::npos) each(std::move(file));
    }
  }
}

std::optional<FileRecord> find_with_extents(const VolumeFiles& files, std::uint64_t inode) {
  for (const FileTablePage& place : files.pages) {
    for (FileRecord& file : files.read(place)) {
      if (file.entry.inode == inode && !file.entry.extents.empty()) return std::move(file);
    }
  }
  return std::nullopt;
}

}  // namespace vmpack
