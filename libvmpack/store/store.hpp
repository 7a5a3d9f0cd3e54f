// SPDX-License-Identifier: Apache-2.0
// What a repository lies on: named byte strings with the semantics of an object store. One conformance suite
// (tests/store) holds every implementation to this contract.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// Names one state of one key: equal only for the same bytes written by the same put.
struct StoreVersion {
  std::string token;
  friend bool operator==(const StoreVersion&, const StoreVersion&) = default;
};

struct StoreStat {
  std::uint64_t bytes = 0;
  std::int64_t modified_seconds = 0;  ///< since 1970, by the store's clock
  StoreVersion version;
};

/// A value whose bytes come before its key is known. Nobody sees it until it is put; without that, nothing is
/// left of it. Not for use by two threads at once; its store must outlive it.
class StoreDraft {
 public:
  StoreDraft() = default;
  StoreDraft(const StoreDraft&) = delete;
  StoreDraft& operator=(const StoreDraft&) = delete;
  virtual ~StoreDraft() = default;

  /// Adds the concatenation of `parts`.
  virtual void append(std::span<const ByteView> parts) = 0;

  /// As Store::put_if_absent() with all that was appended. Once, and last.
  virtual bool put_if_absent(std::string_view key) = 0;
};

/// Keys are relative paths: parts of [A-Za-z0-9._+@:-], none of them "." or "..", joined by '/'; the first
/// part "tmp" is the store's own (key.hpp has the limits). A key must not be another one's folder. kInvalid
/// for anything else. Every method may be called from any thread, and throws Error that names store and key.
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  /// Stores the concatenation of `parts` under `key` unless the key is there. True when this call stored it;
  /// then it is durable and complete, and no reader ever saw less. kNoSpace leaves nothing behind.
  virtual bool put_if_absent(std::string_view key, std::span<const ByteView> parts) = 0;
  bool put_if_absent(std::string_view key, ByteView bytes) {
    return put_if_absent(key, std::span(&bytes, 1));
  }

  /// Begins a value that is too large to be held in memory, or is named by what it holds.
  [[nodiscard]] virtual std::unique_ptr<StoreDraft> begin_draft() = 0;

  /// Replaces `key` if its version is still `expected`; nullopt expects the key to be absent. False when it
  /// is not so. Durable on return.
  virtual bool replace_if_version(std::string_view key, ByteView bytes,
                                  const std::optional<StoreVersion>& expected) = 0;

  /// Fills `into` from `offset`; kNotFound without the key, kDamaged when the value ends before the range
  /// does.
  virtual void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) = 0;

  /// What get_range() gave proved to be damaged. True when that was a copy from nearer by, which is let go
  /// now: read again.
  virtual bool distrust(std::string_view /*key*/, std::uint64_t /*offset*/, std::uint64_t /*bytes*/) {
    return false;
  }

  /// The whole value; kLimit when it is larger than `bytes_max`. With `stat`, what it was at that moment.
  virtual Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat = nullptr) = 0;

  /// nullopt without the key.
  virtual std::optional<StoreStat> stat(std::string_view key) = 0;

  /// Calls `each` for every key that begins with `prefix` (a folder with its '/', or empty), in byte order of
  /// the keys.
  virtual void list(std::string_view prefix,
                    const std::function<void(const std::string& key, std::uint64_t bytes)>& each) = 0;

  /// No error when the key is not there.
  virtual void remove(std::string_view key) = 0;

  /// Removes what killed writers left and nobody can see, where that is no part of writing. It may read all
  /// of the store: for gc.
  virtual void clean_up() {}

  /// The store's clock, seconds since 1970.
  virtual std::int64_t now() = 0;

  /// A local file that holds the value, to be mapped or opened; empty where the store has none.
  virtual std::string local_path(std::string_view key) = 0;

  /// For messages: the path or URL.
  [[nodiscard]] virtual std::string location() const = 0;
};

/// A folder of the local file system, which must exist.
[[nodiscard]] std::unique_ptr<Store> open_directory_store(const std::string& path);

/// Opens what a user names: a path, a file:// URL, s3://BUCKET/PREFIX (docs/s3.md; s3/s3_settings.hpp says
/// which variables and files count), or rados://POOL/PREFIX (docs/rados.md). kNotFound when the folder or
/// pool is not there. `create` makes a folder (and its parents); buckets and pools are never made. Nothing is
/// asked of an S3 server before the first use.
[[nodiscard]] std::unique_ptr<Store> open_store(const std::string& location, bool create = false);

}  // namespace vmpack
