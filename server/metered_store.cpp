// SPDX-License-Identifier: Apache-2.0
#include "server/metered_store.hpp"

#include <chrono>
#include <utility>

namespace vmpack {
namespace {

/// Counts one operation at the end of its scope, as failed unless it was said to have succeeded.
class Measurement {
 public:
  Measurement(ServerMetrics& metrics, StoreOperation operation) : metrics_(metrics), operation_(operation) {}
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;
  ~Measurement() {
    metrics_.count_store(operation_, std::chrono::steady_clock::now() - began_, bytes_, failed_);
  }
  void succeeded(std::uint64_t bytes) {
    bytes_ = bytes;
    failed_ = false;
  }

 private:
  ServerMetrics& metrics_;
  const StoreOperation operation_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::uint64_t bytes_ = 0;
  bool failed_ = true;
};

class MeteredStore final : public Store {
 public:
  MeteredStore(std::unique_ptr<Store> store, ServerMetrics& metrics)
      : store_(std::move(store)), metrics_(metrics) {}

  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override {
    Measurement measurement(metrics_, StoreOperation::kGetRange);
    store_->get_range(key, offset, into);
    measurement.succeeded(into.size());
  }
  bool distrust(std::string_view key, std::uint64_t offset, std::uint64_t bytes) override {
    return store_->distrust(key, offset, bytes);
  }
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override {
    Measurement measurement(metrics_, StoreOperation::kGet);
    Bytes bytes = store_->get(key, bytes_max, stat);
    measurement.succeeded(bytes.size());
    return bytes;
  }
  std::optional<StoreStat> stat(std::string_view key) override {
    Measurement measurement(metrics_, StoreOperation::kStat);
    auto found = store_->stat(key);
    measurement.succeeded(0);
    return found;
  }
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override {
    Measurement measurement(metrics_, StoreOperation::kList);
    store_->list(prefix, each);
    measurement.succeeded(0);
  }

  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override {
    return store_->put_if_absent(key, parts);
  }
  std::unique_ptr<StoreDraft> begin_draft() override { return store_->begin_draft(); }
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override {
    return store_->replace_if_version(key, bytes, expected);
  }
  void remove(std::string_view key) override { store_->remove(key); }
  void clean_up() override { store_->clean_up(); }
  std::int64_t now() override { return store_->now(); }
  std::string local_path(std::string_view key) override { return store_->local_path(key); }
  [[nodiscard]] std::string location() const override { return store_->location(); }

 private:
  std::unique_ptr<Store> store_;
  ServerMetrics& metrics_;
};

}  // namespace

std::unique_ptr<Store> meter_store(std::unique_ptr<Store> store, ServerMetrics& metrics) {
  return std::make_unique<MeteredStore>(std::move(store), metrics);
}

}  // namespace vmpack
