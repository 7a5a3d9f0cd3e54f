// SPDX-License-Identifier: Apache-2.0
// A store in memory, whose clock stands where the test puts it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "libvmpack/store/store.hpp"

namespace vmpack::test {

/// What several handles share, as several machines share a bucket.
class MemoryStoreContents {
 public:
  struct Value {
    std::shared_ptr<const Bytes> bytes;
    std::uint64_t put = 0;  ///< which one, counted over all keys
    std::int64_t modified = 0;
  };
  std::mutex mutex;
  std::map<std::string, Value, std::less<>> values;  // guarded by mutex, as what follows
  std::uint64_t puts = 0;
  std::int64_t now = 1'000'000'000;
};

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(
      std::shared_ptr<MemoryStoreContents> contents = std::make_shared<MemoryStoreContents>())
      : contents_(std::move(contents)) {}
  /// Moves the clock of the store.
  void pass(std::int64_t seconds);
  [[nodiscard]] MemoryStoreContents& contents() const { return *contents_; }

  using Store::put_if_absent;
  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override;
  std::unique_ptr<StoreDraft> begin_draft() override;
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override;
  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override;
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override;
  std::optional<StoreStat> stat(std::string_view key) override;
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override;
  void remove(std::string_view key) override;
  std::int64_t now() override;
  std::string local_path(std::string_view key) override;
  [[nodiscard]] std::string location() const override { return "memory"; }

 private:
  class Draft;
  [[nodiscard]] MemoryStoreContents::Value value_of(std::string_view key) const;

  std::shared_ptr<MemoryStoreContents> contents_;
};

}  // namespace vmpack::test
