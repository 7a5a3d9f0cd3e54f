// SPDX-License-Identifier: Apache-2.0
#include "server/metered_store.hpp"

#include <chrono>
#include <utility>

#include "libvmpack/store/forwarding_store.hpp"

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

class MeteredStore final : public ForwardingStore {
 public:
  MeteredStore(std::unique_ptr<Store> store, ServerMetrics& metrics)
      : ForwardingStore(std::move(store)), metrics_(metrics) {}

  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override {
    Measurement measurement(metrics_, StoreOperation::kGetRange);
    ForwardingStore::get_range(key, offset, into);
    measurement.succeeded(into.size());
  }
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override {
    Measurement measurement(metrics_, StoreOperation::kGet);
    Bytes bytes = ForwardingStore::get(key, bytes_max, stat);
    measurement.succeeded(bytes.size());
    return bytes;
  }
  std::optional<StoreStat> stat(std::string_view key) override {
    Measurement measurement(metrics_, StoreOperation::kStat);
    auto found = ForwardingStore::stat(key);
    measurement.succeeded(0);
    return found;
  }
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override {
    Measurement measurement(metrics_, StoreOperation::kList);
    ForwardingStore::list(prefix, each);
    measurement.succeeded(0);
  }

 private:
  ServerMetrics& metrics_;
};

}  // namespace

std::unique_ptr<Store> meter_store(std::unique_ptr<Store> store, ServerMetrics& metrics) {
  return std::make_unique<MeteredStore>(std::move(store), metrics);
}

}  // namespace vmpack
