// SPDX-License-Identifier: Apache-2.0
// A store in front of another one: does nothing of its own, so that one that adds something says just that.
#pragma once

#include <memory>
#include <utility>

#include "libvmpack/store/store.hpp"

namespace vmpack {

class ForwardingStore : public Store {
 public:
  explicit ForwardingStore(std::unique_ptr<Store> behind) : behind_(std::move(behind)) {}

  using Store::put_if_absent;
  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override {
    return behind_->put_if_absent(key, parts);
  }
  std::unique_ptr<StoreDraft> begin_draft() override { return behind_->begin_draft(); }
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override {
    return behind_->replace_if_version(key, bytes, expected);
  }
  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override {
    behind_->get_range(key, offset, into);
  }
  bool distrust(std::string_view key, std::uint64_t offset, std::uint64_t bytes) override {
    return behind_->distrust(key, offset, bytes);
  }
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override {
    return behind_->get(key, bytes_max, stat);
  }
  std::optional<StoreStat> stat(std::string_view key) override { return behind_->stat(key); }
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override {
    behind_->list(prefix, each);
  }
  void remove(std::string_view key) override { behind_->remove(key); }
  void clean_up() override { behind_->clean_up(); }
  std::int64_t now() override { return behind_->now(); }
  std::string local_path(std::string_view key) override { return behind_->local_path(key); }
  [[nodiscard]] std::string location() const override { return behind_->location(); }

 private:
  std::unique_ptr<Store> behind_;
};

}  // namespace vmpack
