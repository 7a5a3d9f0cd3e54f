// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/near_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace vmpack {
namespace {

bool is_immutable(std::string_view key) {
  constexpr std::array<std::string_view, 4> kFolders{"packs/", "maps/", "files/", "snapshots/"};
  return std::ranges::any_of(kFolders, [&](std::string_view folder) { return key.starts_with(folder); });
}

/// What a copy is called: a whole value (whose name holds its digest), or a range of one.
Digest whole_id(std::string_view key) { return sha256(as_byte_view(key)); }
Digest range_id(std::string_view key, std::uint64_t offset, std::uint64_t bytes) {
  return sha256(as_byte_view(fmt::format("{}\n{}+{}", key, offset, bytes)));
}

class NearStore final : public Store {
 public:
  NearStore(std::unique_ptr<Store> far, std::shared_ptr<DiskCache> cache)
      : far_(std::move(far)), cache_(std::move(cache)) {}

  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override {
    if (!is_immutable(key)) return far_->get_range(key, offset, into);
    const Digest id = range_id(key, offset, into.size());
    if (const auto copy = cache_->find(id); copy && copy->size() == into.size()) {
      std::ranges::copy(*copy, into.begin());
      return;
    }
    far_->get_range(key, offset, into);
    cache_->keep(id, into);
  }
  bool distrust(std::string_view key, std::uint64_t offset, std::uint64_t bytes) override {
    // Also where it came from afar a moment ago, and was kept: then it is fetched once more for nothing.
    const bool forgotten = is_immutable(key) && cache_->forget(range_id(key, offset, bytes));
    return far_->distrust(key, offset, bytes) || forgotten;
  }
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override {
    // Whoever asks for the version, too, asks the store.
    if (!is_immutable(key) || stat != nullptr) return far_->get(key, bytes_max, stat);
    const Digest id = whole_id(key);
    if (auto copy = cache_->find(id); copy && copy->size() <= bytes_max) return std::move(*copy);
    Bytes bytes = far_->get(key, bytes_max, nullptr);
    if (key.find(sha256(bytes).hex()) != std::string_view::npos) cache_->keep(id, bytes);
    return bytes;
  }

  bool put_if_absent(std::string_view key, std::span<const ByteView> parts) override {
    return far_->put_if_absent(key, parts);
  }
  std::unique_ptr<StoreDraft> begin_draft() override { return far_->begin_draft(); }
  bool replace_if_version(std::string_view key, ByteView bytes,
                          const std::optional<StoreVersion>& expected) override {
    return far_->replace_if_version(key, bytes, expected);
  }
  std::optional<StoreStat> stat(std::string_view key) override { return far_->stat(key); }
  void list(std::string_view prefix,
            const std::function<void(const std::string& key, std::uint64_t bytes)>& each) override {
    far_->list(prefix, each);
  }
  void remove(std::string_view key) override { far_->remove(key); }
  void clean_up() override { far_->clean_up(); }
  std::int64_t now() override { return far_->now(); }
  std::string local_path(std::string_view key) override { return far_->local_path(key); }
  [[nodiscard]] std::string location() const override { return far_->location(); }

 private:
  std::unique_ptr<Store> far_;
  std::shared_ptr<DiskCache> cache_;
};

}  // namespace

std::unique_ptr<Store> make_near_store(std::unique_ptr<Store> far, std::shared_ptr<DiskCache> cache) {
  return std::make_unique<NearStore>(std::move(far), std::move(cache));
}

}  // namespace vmpack
