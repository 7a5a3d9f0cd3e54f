// SPDX-License-Identifier: Apache-2.0
// Index files as memory: local ones as they are, those of other stores from copies that are fetched once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/mapped_file.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// The index file `key`: the store's local file, or where it has none, a copy that is fetched now and goes
/// with the mapping. Throws kNotFound, kLimit, kDamaged when what was fetched does not match its name.
[[nodiscard]] MappedFile map_index_file(Store& store, const std::string& key);

/// Where copies of a repository's index files are kept unless the environment says otherwise: in
/// $VMPACK_INDEX_CACHE, or cache_folder(), below the repository's id. Empty where VMPACK_INDEX_CACHE is
/// "off".
[[nodiscard]] std::string index_cache_folder(std::string_view repository_id);
/// What the copies in such a folder take.
[[nodiscard]] std::uint64_t cached_index_bytes(const std::string& folder);

/// Copies of one repository's index files in a local folder. They are immutable, so that a copy is good for
/// ever, and are checked against their name as they come. Several processes may use one folder at once. Any
/// thread.
class IndexCache {
 public:
  /// Makes `folder` and its parents. Throws what making it throws.
  explicit IndexCache(const std::string& folder);

  /// The copy of `key`, which has `bytes` in the store; fetched unless it is here. Throws as
  /// map_index_file().
  [[nodiscard]] MappedFile map(Store& store, const std::string& key, std::uint64_t bytes);
  /// Forgets the copy, so that it is fetched again.
  void drop(const std::string& key);
  /// Forgets all copies but those of `keys`, which are sorted.
  void keep_only(std::span<const std::string> keys);

 private:
  std::unique_ptr<Store> copies_;
};

}  // namespace vmpack
