// SPDX-License-Identifier: Apache-2.0
// One machine's sight of a store: any call may fail, before it is done or after, and its clock may be wrong.
#pragma once

#include <functional>
#include <memory>

#include "libvmpack/store/store.hpp"

namespace vmpack::test {

class HookedStore final : public Store {
 public:
  /// Called before and after each operation with its name and key; what it throws, the caller gets.
  using Hook = std::function<void(std::string_view operation, std::string_view key, bool done)>;

  /// The clock that is seen here is ahead of that of `store` by `skew_seconds`.
  HookedStore(std::shared_ptr<Store> store, Hook hook, std::int64_t skew_seconds = 0)
      : store_(std::move(store)), hook_(std::move(hook)), skew_seconds_(skew_seconds) {}

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
  void clean_up() override;
  std::int64_t now() override;
  std::string local_path(std::string_view key) override { return store_->local_path(key); }
  [[nodiscard]] std::string location() const override { return store_->location(); }

 private:
  class Draft;
  template <typename Work>
  auto operate(std::string_view operation, std::string_view key, Work work);

  std::shared_ptr<Store> store_;
  Hook hook_;
  std::int64_t skew_seconds_;
};

}  // namespace vmpack::test
