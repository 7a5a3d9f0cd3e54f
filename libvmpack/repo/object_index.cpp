// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/object_index.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/mapped_file.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr unsigned kFetchThreads = 8;
constexpr int kListRaces = 8;

/// What bodies may come to take of memory before all of it is given back. The system brings 4 KiB to 2 MiB
/// into memory for each place that is read, so it is asked how much there is, after so many lookups.
constexpr std::uint64_t kMemoryGrowthMax = 64 * kMiB;
constexpr std::uint64_t kLookupsBetweenLooks = 32;

/// nullptr where the folder cannot be made.
std::unique_ptr<IndexCache> open_cache(const std::string& folder) {
  try {
    return std::make_unique<IndexCache>(folder);
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<ObjectIndex> ObjectIndex::open(Store& store, PackSet excluded,
                                               const std::string& cache_folder) {
  std::unique_ptr<ObjectIndex> index(new ObjectIndex(store, std::move(excluded)));
  if (!cache_folder.empty() && store.local_path("index").empty()) {
    index->cache_ = open_cache(cache_folder);
  }
  index->refresh();
  if (index->cache_) index->drop_old_copies();
  return index;
}

std::unique_ptr<ObjectIndex> ObjectIndex::open(const Repository& repository, PackSet excluded) {
  return open(repository.store(), std::move(excluded), index_cache_folder(repository.id()));
}

void ObjectIndex::refresh() {
  std::vector<File> files;
  int races = 0;
  do {
    if (++races > kListRaces) {
      throw Error(ErrorCode::kIo, fmt::format("{}: index files keep being removed", store_.location()),
                  "try again");
    }
    files.clear();
    store_.list("index/",
                [&](const std::string& key, std::uint64_t bytes) { files.push_back({key, bytes, nullptr}); });
  } while (!take_over(std::move(files)));
  filters_.clear();
  for (const File& entry : files_) filters_.push_back(entry.file->filter());
}

void ObjectIndex::drop_old_copies() const {
  std::vector<std::string> keys;
  keys.reserve(files_.size());
  for (const File& entry : files_) keys.push_back(entry.key);
  cache_->keep_only(keys);
}

bool ObjectIndex::take_over(std::vector<File> files) {
  for (File& entry : files) {
    const auto known = std::ranges::lower_bound(files_, entry.key, {}, &File::key);
    if (known != files_.end() && known->key == entry.key) entry.file = std::move(known->file);
  }
  std::atomic<bool> all_there = true;
  parallel_for(files.size(), kFetchThreads, [&](std::size_t i) {
    if (files[i].file) return;
    try {
      files[i].file = open_file(files[i]);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      all_there = false;
    }
  });
  std::erase_if(files, [](const File& entry) { return !entry.file; });
  files_ = std::move(files);
  return all_there;
}

std::unique_ptr<ObjectIndexFile> ObjectIndex::open_file(const File& entry) const {
  const auto& [key, bytes, file] = entry;
  if (!cache_) return ObjectIndexFile::open(store_, key);
  try {
    return ObjectIndexFile::open(cache_->map(store_, key, bytes), key);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged) throw;
  }
  cache_->drop(key);
  return ObjectIndexFile::open(cache_->map(store_, key, bytes), key);
}

bool ObjectIndex::is_excluded(const ObjectLocation& location) const {
  if (excluded_.empty()) return false;
  return excluded_.contains(location.location.pack) ||
         std::ranges::any_of(location.bases,
                             [&](const FramePlace& base) { return excluded_.contains(base.location.pack); });
}

void ObjectIndex::bound_memory() const {
  if (++lookups_in_bodies_ % kLookupsBetweenLooks != 0) return;
  const auto memory = mapped_memory();
  if (memory && *memory < memory_released_to_ + kMemoryGrowthMax) return;
  for (const File& entry : files_) entry.file->release();
  memory_released_to_ = mapped_memory().value_or(0);
}

std::optional<ObjectLocation> ObjectIndex::find_in(std::size_t file, const ObjectDigest& object) const {
  auto location = files_[file].file->find(object);
  bound_memory();
  if (location && is_excluded(*location)) return std::nullopt;
  return location;
}

std::optional<ObjectLocation> ObjectIndex::find(const ObjectDigest& object) const {
  return std::move(find(std::span(&object, 1)).front());
}

std::vector<std::optional<ObjectLocation>> ObjectIndex::find(std::span<const ObjectDigest> objects) const {
  struct Sought {
    FilterKey key;
    std::size_t number;
  };
  std::vector<std::optional<ObjectLocation>> found(objects.size());
  std::vector<Sought> left;
  left.reserve(objects.size());
  for (std::size_t i = 0; i < objects.size(); ++i) left.push_back({FilterKey(objects[i]), i});
  // File by file: a small one's filter stays in the processor's cache for all objects.
  for (std::size_t file = 0; file < filters_.size(); ++file) {
    std::erase_if(left, [&](const Sought& sought) {
      if (!filters_[file].may_contain(sought.key)) return false;
      found[sought.number] = find_in(file, objects[sought.number]);
      return found[sought.number].has_value();
    });
  }
  return found;
}

std::uint64_t ObjectIndex::object_count() const {
  std::uint64_t count = 0;
  for (const File& entry : files_) count += entry.file->object_count();
  return count;
}

}  // namespace vmpack
