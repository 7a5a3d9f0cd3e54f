// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/index_cache.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <optional>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/repo/object_index_file.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kIndexPrefix = "index/";
constexpr std::uint64_t kFetchBytes = 4 * kMiB;

std::uint64_t stored_bytes(Store& store, const std::string& key) {
  const auto stat = store.stat(key);
  if (!stat) throw Error(ErrorCode::kNotFound, fmt::format("{} is missing", key));
  if (stat->bytes > limits::kIndexFileBytesMax)
    throw Error(ErrorCode::kLimit, fmt::format("{} is over the limit", key));
  return stat->bytes;
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

/// A file without a name. Not in /tmp, which is memory on many systems.
FileDescriptor unnamed_file() {
  const char* chosen = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::string path =
      fmt::format("{}/vmpack-index-XXXXXX", chosen != nullptr && *chosen == '/' ? chosen : "/var/tmp");
  FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file) throw system_error(errno, "cannot make", path);
  ::unlink(path.c_str());
  return file;
}

}  // namespace

MappedFile map_index_file(Store& store, const std::string& key) {
  const std::uint64_t bytes = stored_bytes(store, key);
  const std::string path = store.local_path(key);
  if (!path.empty()) return map_path(path, bytes);
  const FileDescriptor copy = unnamed_file();
  std::uint64_t at = 0;
  fetch(store, key, bytes, [&](ByteView piece) {
    write_at(copy.get(), piece, at, "a copy of the index");
    at += piece.size();
  });
  return {copy, bytes, key};
}

IndexCache::IndexCache(const std::string& folder) : copies_(open_store(folder, /*create=*/true)) {}

MappedFile IndexCache::map(Store& store, const std::string& key) {
  const std::uint64_t bytes = stored_bytes(store, key);
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

std::uint64_t IndexCache::bytes() const {
  std::uint64_t sum = 0;
  copies_->list(kIndexPrefix, [&](const std::string&, std::uint64_t bytes) { sum += bytes; });
  return sum;
}

}  // namespace vmpack
