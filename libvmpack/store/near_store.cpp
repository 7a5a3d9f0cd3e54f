// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/near_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libvmpack/store/forwarding_store.hpp"

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

class NearStore final : public ForwardingStore {
 public:
  NearStore(std::unique_ptr<Store> far, std::shared_ptr<DiskCache> cache)
      : ForwardingStore(std::move(far)), cache_(std::move(cache)) {}

  void get_range(std::string_view key, std::uint64_t offset, ByteSpan into) override {
    if (!is_immutable(key)) return ForwardingStore::get_range(key, offset, into);
    const Digest id = range_id(key, offset, into.size());
    if (const auto copy = cache_->find(id); copy && copy->size() == into.size()) {
      std::ranges::copy(*copy, into.begin());
      return;
    }
    ForwardingStore::get_range(key, offset, into);
    cache_->keep(id, into);
  }
  bool distrust(std::string_view key, std::uint64_t offset, std::uint64_t bytes) override {
    // Also where it came from afar a moment ago, and was kept: then it is fetched once more for nothing.
    const bool forgotten = is_immutable(key) && cache_->forget(range_id(key, offset, bytes));
    return ForwardingStore::distrust(key, offset, bytes) || forgotten;
  }
  Bytes get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) override {
    // Whoever asks for the version, too, asks the store.
    if (!is_immutable(key) || stat != nullptr) return ForwardingStore::get(key, bytes_max, stat);
    const Digest id = whole_id(key);
    if (auto copy = cache_->find(id); copy && copy->size() <= bytes_max) return std::move(*copy);
    Bytes bytes = ForwardingStore::get(key, bytes_max, nullptr);
    if (key.find(sha256(bytes).hex()) != std::string_view::npos) cache_->keep(id, bytes);
    return bytes;
  }

 private:
  std::shared_ptr<DiskCache> cache_;
};

}  // namespace

std::unique_ptr<Store> make_near_store(std::unique_ptr<Store> far, std::shared_ptr<DiskCache> cache) {
  return std::make_unique<NearStore>(std::move(far), std::move(cache));
}

}  // namespace vmpack
