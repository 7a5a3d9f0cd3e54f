// SPDX-License-Identifier: Apache-2.0
// The object index: which frame holds an object. Needed only while ingesting; can be rebuilt from the packs.
// Format: formats/object_index.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/repo/index_cache.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/repo/object_index_writer.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

using PackSet = std::unordered_set<PackDigest, DigestHash>;

/// All index files of a repository as they were when opened, or last refreshed. find() may be called from any
/// thread, but not while something else is.
class ObjectIndex {
 public:
  /// Objects that lie, or stand on what lies, in `excluded` packs count as absent. `cache_folder`: for copies
  /// of the files of a store that has no local ones; empty: they are fetched anew. `store` must outlive this.
  static std::unique_ptr<ObjectIndex> open(Store& store, PackSet excluded = {},
                                           const std::string& cache_folder = {});

  /// The same with the cache that belongs to the repository; without one where it cannot be written.
  static std::unique_ptr<ObjectIndex> open(const Repository& repository, PackSet excluded = {});

  [[nodiscard]] std::optional<ObjectLocation> find(const ObjectDigest& object) const;
  /// The same for many, faster where there are many files.
  [[nodiscard]] std::vector<std::optional<ObjectLocation>> find(std::span<const ObjectDigest> objects) const;
  [[nodiscard]] std::uint64_t object_count() const;
  [[nodiscard]] std::size_t file_count() const { return files_.size(); }

  /// Takes in the files that were written since, and lets go of those that were removed.
  void refresh();

 private:
  struct File {
    std::string key;
    std::uint64_t bytes = 0;
    std::unique_ptr<ObjectIndexFile> file;
  };
  ObjectIndex(Store& store, PackSet excluded) : store_(store), excluded_(std::move(excluded)) {}
  [[nodiscard]] bool is_excluded(const ObjectLocation& location) const;
  [[nodiscard]] std::optional<ObjectLocation> find_in(std::size_t file, const ObjectDigest& object) const;
  void bound_memory() const;
  void drop_old_copies() const;
  /// Opens those of `files` that are not open here, and takes them all over. False when one is no longer
  /// there.
  bool take_over(std::vector<File> files);
  [[nodiscard]] std::unique_ptr<ObjectIndexFile> open_file(const File& entry) const;

  Store& store_;
  PackSet excluded_;
  std::unique_ptr<IndexCache> cache_;  // null: none
  std::vector<File> files_;            // sorted by key
  std::vector<ObjectFilter> filters_;  // of files_: asked for every object
  mutable std::atomic<std::uint64_t> lookups_in_bodies_{0};
  mutable std::atomic<std::uint64_t> memory_released_to_{0};  // mapped_memory() after giving back
};

}  // namespace vmpack
