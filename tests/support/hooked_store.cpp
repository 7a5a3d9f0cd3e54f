// SPDX-License-Identifier: Apache-2.0
#include "tests/support/hooked_store.hpp"

#include <type_traits>

namespace vmpack::test {

template <typename Work>
auto HookedStore::operate(std::string_view operation, std::string_view key, Work work) {
  hook_(operation, key, false);
  if constexpr (std::is_void_v<decltype(work())>) {
    work();
    hook_(operation, key, true);
  } else {
    auto result = work();
    hook_(operation, key, true);
    return result;
  }
}

bool HookedStore::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  return operate("put", key, [&] { return store_->put_if_absent(key, parts); });
}

class HookedStore::Draft final : public StoreDraft {
 public:
  explicit Draft(HookedStore& store) : store_(store), draft_(store.store_->begin_draft()) {}
  void append(std::span<const ByteView> parts) override { draft_->append(parts); }
  bool put_if_absent(std::string_view key) override {
    return store_.operate("put", key, [&] { return draft_->put_if_absent(key); });
  }

 private:
  HookedStore& store_;
  std::unique_ptr<StoreDraft> draft_;
};

std::unique_ptr<StoreDraft> HookedStore::begin_draft() { return std::make_unique<Draft>(*this); }

bool HookedStore::replace_if_version(std::string_view key, ByteView bytes,
                                     const std::optional<StoreVersion>& expected) {
  return operate("replace", key, [&] { return store_->replace_if_version(key, bytes, expected); });
}

void HookedStore::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  operate("get", key, [&] { store_->get_range(key, offset, into); });
}

Bytes HookedStore::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) {
  return operate("get", key, [&] { return store_->get(key, bytes_max, stat); });
}

std::optional<StoreStat> HookedStore::stat(std::string_view key) {
  return operate("stat", key, [&] { return store_->stat(key); });
}

void HookedStore::list(std::string_view prefix,
                       const std::function<void(const std::string& key, std::uint64_t bytes)>& each) {
  std::vector<std::pair<std::string, std::uint64_t>> found;
  operate("list", prefix, [&] {
    store_->list(prefix,
                 [&](const std::string& key, std::uint64_t bytes) { found.emplace_back(key, bytes); });
  });
  for (const auto& [key, bytes] : found) each(key, bytes);
}

void HookedStore::remove(std::string_view key) {
  operate("remove", key, [&] { store_->remove(key); });
}

void HookedStore::clean_up() {
  operate("clean_up", "", [&] { store_->clean_up(); });
}

std::int64_t HookedStore::now() {
  return operate("now", "", [&] { return store_->now() + skew_seconds_; });
}

}  // namespace vmpack::test
