// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/file_tree.hpp"

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {

void FileTree::reserve(std::size_t files) {
  constexpr std::size_t kFilesMax = 1'000'000;  // a mere claim takes no more
  constexpr std::size_t kNameBytes = 20;
  files = std::min(files, kFilesMax);
  files_.reserve(files);
  extents_.reserve(files);
  name_list_.reserve(files);
  names_.reserve(files * kNameBytes);
}

FileTree::Index FileTree::add(const File& file) {
  if (files_.size() >= limits::kFilesMax) throw Error(ErrorCode::kLimit, "it holds too many files");
  files_.push_back({.facts = file, .first_extent = extents_.size()});
  return static_cast<Index>(files_.size() - 1);
}

void FileTree::spoil_last() {
  Entry& last = files_.back();
  extents_.resize(last.first_extent);
  last.extent_count = 0;
  if (!last.damaged) ++damage_.files;
  last.damaged = true;
}

void FileTree::add_run(std::uint64_t file_offset, std::uint64_t volume_offset, std::uint64_t length) {
  Entry& last = files_.back();
  if (length == 0 || last.damaged) return;
  const bool in_volume = volume_offset <= volume_.length && length <= volume_.length - volume_offset;
  const bool in_file = file_offset <= last.facts.size && length <= last.facts.size - file_offset;
  if (!in_volume || !in_file || last.extent_count >= limits::kFileExtentsMax) {
    spoil_last();
    return;
  }
  const std::uint64_t disk_offset = volume_.offset + volume_offset;
  if (last.extent_count > 0) {
    FileExtent& before = extents_.back();
    if (file_offset < before.file_offset + before.length) {
      spoil_last();
      return;
    }
    if (file_offset == before.file_offset + before.length &&
        disk_offset == before.disk_offset + before.length) {
      before.length += length;
      return;
    }
  }
  extents_.push_back({file_offset, disk_offset, length});
  ++last.extent_count;
}

void FileTree::add_name(std::uint64_t directory, Index file, std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > limits::kPathBytesMax ||
      name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    ++damage_.names;
    return;
  }
  name_list_.push_back({directory, names_.size(), file, static_cast<std::uint32_t>(name.size())});
  names_ += name;
  names_ += '/';
}

void FileTree::report(Index root, LayoutStreamWriter& out) {
  out_ = &out;
  std::ranges::sort(name_list_, {}, [](const Name& name) { return std::pair(name.directory, name.at); });
  path_ = "/";
  report_file(root);
  path_.clear();
  enter(root, /*hidden=*/false);
  while (!open_.empty()) {
    Directory& directory = open_.back();
    if (directory.next_step == directory.steps.size()) {
      open_.pop_back();
      continue;
    }
    const Step step = directory.steps[directory.next_step++];
    take(directory, step);
  }
  damage_.names += name_list_.size() - names_seen_;
}

void FileTree::take(Directory& directory, const Step& step) {
  path_.resize(directory.path_bytes);
  path_ += '/';
  path_ += text(*step.name);
  const Index index = step.name->file;
  const bool hidden = directory.hidden || files_[index].facts.hidden;
  if (path_.size() > limits::kPathBytesMax) {
    if (!step.below) ++damage_.names;
  } else if (step.below) {
    enter(index, hidden);
  } else if (!hidden) {
    report_file(index);
  }
}

// Opens the directory at path_. Paths are in order of their bytes when "a/" and all below it is sorted among
// a's siblings as such: "a", "a-b", "a/x".
void FileTree::enter(Index index, bool hidden) {
  Directory directory;
  directory.path_bytes = path_.size();
  directory.hidden = hidden;
  files_[index].visited = true;
  for (const Name& name :
       std::ranges::equal_range(name_list_, files_[index].facts.key, {}, &Name::directory)) {
    ++names_seen_;
    Entry& child = files_[name.file];
    if (child.facts.type == FileType::kDirectory) {
      // A second way into a directory would make the tree endless.
      if (child.visited) {
        ++damage_.names;
        continue;
      }
      child.visited = true;
      directory.steps.push_back({&name, true});
    }
    directory.steps.push_back({&name, false});
  }
  const auto key = [this](const Step& step) { return text(*step.name, step.below); };
  std::ranges::stable_sort(directory.steps, {}, key);
  const auto repeated = std::ranges::unique(directory.steps, {}, key);
  damage_.names += repeated.size();
  directory.steps.erase(repeated.begin(), repeated.end());
  open_.push_back(std::move(directory));
}

// Reports the file at path_.
void FileTree::report_file(Index index) {
  Entry& file = files_[index];
  entry_.path = path_;
  entry_.type = file.facts.type;
  entry_.inode = file.facts.inode;
  entry_.modified_ns = file.facts.modified_ns;
  entry_.size = file.facts.size;
  entry_.extents.clear();
  if (file.facts.type == FileType::kRegular && !file.visited) {
    const auto extents = std::span(extents_).subspan(file.first_extent, file.extent_count);
    entry_.extents.assign(extents.begin(), extents.end());
    file.visited = true;
  }
  out_->file(entry_);
}

}  // namespace vmpack
