// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/older_snapshot.hpp"

#include <algorithm>
#include <tuple>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/versioned_path.hpp"
#include "libvmpack/partition/policy.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kCacheBytes = 48 * kMiB;

std::optional<SnapshotDigest> newest(const Repository& repository, const ReferenceName& name) {
  const std::vector<ReferenceEntry> all = repository.references();
  const auto age = [&](const ReferenceEntry& entry) {
    return std::tuple(entry.name.name == name.name, entry.modified_seconds, entry.name.text());
  };
  const auto best = std::ranges::max_element(all, {}, age);
  if (best == all.end()) return std::nullopt;
  return best->snapshot;
}

}  // namespace

void OlderSnapshot::open() {
  opened_ = true;
  try {
    const auto snapshot = parent_ ? parent_ : newest(*repository_, name_);
    if (!snapshot) return;
    const Manifest manifest = repository_->manifest(*snapshot);
    if (!cache_) cache_ = std::make_shared<FrameCache>(kCacheBytes);
    image_ = ImageReader::open(repository_, *snapshot, cache_);
    load_files(*snapshot, manifest);
  } catch (const Error&) {
    image_.reset();  // 'verify' tells what is wrong with it
  }
}

void OlderSnapshot::load_files(const SnapshotDigest& snapshot, const Manifest& manifest) {
  const auto table = file_table_of(*repository_, snapshot, manifest);
  if (!table) return;
  const std::string key = file_table_key(*table);
  const Bytes bytes = repository_->store().get(key, limits::kFileTableRootBytesMax);
  if (sha256(bytes) != *table) return;
  for (const FileTableVolume& volume : decode_file_table_root(bytes, key).volumes) {
    for (const FileTablePage& page : volume.pages) {
      for (FileRecord& record : decode_file_table_page(image_->frame(page.frame)->bytes, key)) {
        if (record.entry.type != FileType::kRegular || record.entry.extents.empty()) continue;
        files_.try_emplace(std::move(record.entry.path), std::move(record.entry.extents));
      }
    }
  }
  std::vector<const std::string*> paths;
  paths.reserve(files_.size());
  for (const auto& [path, extents] : files_) paths.push_back(&path);
  // Of several versions the last one.
  std::ranges::sort(paths, [](const std::string* a, const std::string* b) { return *a < *b; });
  for (const std::string* path : paths) {
    std::string unversioned = path_without_version(*path);
    if (unversioned != *path) unversioned_.insert_or_assign(std::move(unversioned), &files_.at(*path));
  }
}

const OlderSnapshot::Extents* OlderSnapshot::find_file(std::string_view path) const {
  if (const auto same = files_.find(std::string(path)); same != files_.end()) return &same->second;
  const auto like = unversioned_.find(path_without_version(path));
  return like == unversioned_.end() ? nullptr : like->second;
}

std::vector<FrameDigest> OlderSnapshot::frames_of(const Part& part, std::uint64_t part_offset,
                                                  std::uint64_t bytes) {
  std::vector<FrameDigest> found;
  if (!opened_) open();
  if (!image_) return found;
  const auto add = [&](std::uint64_t offset, std::uint64_t length) {
    if (offset >= image_->size() || found.size() >= kDeltaBasesMax) return;
    for (const FrameDigest& frame : image_->frames(offset, std::min(length, image_->size() - offset))) {
      if (found.size() < kDeltaBasesMax && std::ranges::find(found, frame) == found.end())
        found.push_back(frame);
    }
  };
  try {
    if (part.file == Part::kNoFile) {
      if (policy_of(part.object_class).stays_in_place) add(part.ranges.front().offset + part_offset, bytes);
      return found;
    }
    const auto* extents = find_file(layout_.volumes[part.volume].files[part.file].path);
    if (extents == nullptr) return found;
    const std::uint64_t from = part.file_offset + part_offset;
    for (const FileExtent& extent : *extents) {
      const std::uint64_t start = std::max(extent.file_offset, from);
      const std::uint64_t end = std::min(extent.file_offset + extent.length, from + bytes);
      if (start < end) add(extent.disk_offset + (start - extent.file_offset), end - start);
    }
  } catch (const Error&) {
    found.clear();
  }
  return found;
}

std::vector<FrameBase> OlderSnapshot::bases(std::span<const FrameDigest> frames) const {
  std::vector<FrameBase> found;
  const auto add = [&](const FrameDigest& digest, const FramePtr& frame) {
    const bool known = std::ranges::find(found, digest, &FrameBase::digest) != found.end();
    if (!known && found.size() < kDeltaBasesMax) found.push_back({digest, frame});
  };
  try {
    for (const FrameDigest& digest : frames) {
      const FramePtr frame = image_->frame(digest);
      if (frame->bases.empty()) add(digest, frame);
      for (const FrameDigest& base : frame->bases) add(base, image_->frame(base));
    }
  } catch (const Error&) {
    found.clear();
  }
  return found;
}

}  // namespace vmpack
