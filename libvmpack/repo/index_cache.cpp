// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/index_cache.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>

#include "libvmpack/base/cache_folder.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/temp_folder.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/store/key.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kIndexPrefix = "index/";
constexpr std::uint64_t kFetchBytes = 4 * kMiB;

void check_size(const std::string& key, std::uint64_t bytes) {
  if (bytes > limits::kIndexFileBytesMax)
    throw Error(ErrorCode::kLimit, fmt::format("{} is over the limit", key));
}

/// Reads a value piece by piece; throws kDamaged at its end unless its name is its SHA-256.
void fetch(Store& store, const std::string& key, std::uint64_t bytes,
           const std::function<void(ByteView piece)>& take) {
  Sha256 hasher;
  Bytes buffer(std::min(bytes, kFetchBytes));
  for (std::uint64_t at = 0; at < bytes;) {
    const ByteSpan piece = ByteSpan(buffer).first(std::min(bytes - at, kFetchBytes));
    store.get_range(key, at, piece);
    hasher.update(piece);
    take(piece);
    at += piece.size();
  }
  const auto named = Digest::from_hex(std::string_view(key).substr(kIndexPrefix.size()).substr(0, 64));
  if (hasher.finish() != named) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{}/{} is damaged: its bytes do not match its name", store.location(), key),
                "remove the file: its objects are then packed again when they next appear");
  }
}

MappedFile map_path(const std::string& path, std::uint64_t bytes) {
  return {FileDescriptor::open(path, O_RDONLY), bytes, path};
}

}  // namespace

MappedFile map_index_file(Store& store, const std::string& key) {
  const auto stat = store.stat(key);
  if (!stat) throw Error(ErrorCode::kNotFound, fmt::format("{} is missing", key));
  const std::uint64_t bytes = stat->bytes;
  check_size(key, bytes);
  const std::string path = store.local_path(key);
  if (!path.empty()) return map_path(path, bytes);
  const FileDescriptor copy = nameless_file();
  std::uint64_t at = 0;
  fetch(store, key, bytes, [&](ByteView piece) {
    write_at(copy.get(), piece, at, "a copy of the index");
    at += piece.size();
  });
  return {copy, bytes, key};
}

std::string index_cache_folder(std::string_view repository_id) {
  const char* chosen = std::getenv("VMPACK_INDEX_CACHE");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (chosen != nullptr && std::string_view(chosen) == "off") return {};
  // The id comes from the repository, and becomes the name of a folder.
  const std::string name =
      is_key_part(repository_id) ? std::string(repository_id) : sha256(as_byte_view(repository_id)).hex();
  return fmt::format("{}/{}", chosen != nullptr && *chosen != '\0' ? chosen : cache_folder(), name);
}

std::uint64_t cached_index_bytes(const std::string& folder) {
  if (!std::filesystem::is_directory(folder)) return 0;
  std::uint64_t sum = 0;
  open_directory_store(folder)->list(kIndexPrefix,
                                     [&](const std::string&, std::uint64_t bytes) { sum += bytes; });
  return sum;
}

IndexCache::IndexCache(const std::string& folder) : copies_(open_store(folder, /*create=*/true)) {}

MappedFile IndexCache::map(Store& store, const std::string& key, std::uint64_t bytes) {
  check_size(key, bytes);
  const auto copy = copies_->stat(key);
  if (copy && copy->bytes != bytes) copies_->remove(key);
  if (!copy || copy->bytes != bytes) {
    const auto draft = copies_->begin_draft();
    fetch(store, key, bytes, [&](ByteView piece) { draft->append(std::span(&piece, 1)); });
    draft->put_if_absent(key);
  }
  return map_path(copies_->local_path(key), bytes);
}

void IndexCache::drop(const std::string& key) { copies_->remove(key); }

void IndexCache::keep_only(std::span<const std::string> keys) {
  for (const std::string& key : list_index_files(*copies_)) {
    if (!std::ranges::binary_search(keys, key)) copies_->remove(key);
  }
}

}  // namespace vmpack
