// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_store.hpp"

#include <fmt/core.h>

#include <cstring>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/key.hpp"

namespace vmpack::test {
namespace {

Bytes joined(std::span<const ByteView> parts) {
  Bytes bytes;
  for (const ByteView part : parts) append(bytes, part);
  return bytes;
}

StoreStat stat_of(const MemoryStoreContents::Value& value) {
  return {value.bytes->size(), value.modified, {std::to_string(value.put)}};
}

}  // namespace

void MemoryStore::pass(std::int64_t seconds) {
  const std::lock_guard lock(contents_->mutex);
  contents_->now += seconds;
}

MemoryStoreContents::Value MemoryStore::value_of(std::string_view key) const {
  const auto found = contents_->values.find(key);
  if (found == contents_->values.end())
    throw Error(ErrorCode::kNotFound, fmt::format("memory/{} is not there", key));
  return found->second;
}

bool MemoryStore::put_if_absent(std::string_view key, std::span<const ByteView> parts) {
  check_key(key, location());
  const std::lock_guard lock(contents_->mutex);
  if (contents_->values.contains(key)) return false;
  contents_->values[std::string(key)] = {std::make_shared<const Bytes>(joined(parts)), ++contents_->puts,
                                         contents_->now};
  return true;
}

class MemoryStore::Draft final : public StoreDraft {
 public:
  explicit Draft(MemoryStore& store) : store_(store) {}
  void append(std::span<const ByteView> parts) override { vmpack::append(bytes_, joined(parts)); }
  bool put_if_absent(std::string_view key) override { return store_.put_if_absent(key, ByteView(bytes_)); }

 private:
  MemoryStore& store_;
  Bytes bytes_;
};

std::unique_ptr<StoreDraft> MemoryStore::begin_draft() { return std::make_unique<Draft>(*this); }

bool MemoryStore::replace_if_version(std::string_view key, ByteView bytes,
                                     const std::optional<StoreVersion>& expected) {
  check_key(key, location());
  const std::lock_guard lock(contents_->mutex);
  const auto found = contents_->values.find(key);
  std::optional<StoreVersion> is;
  if (found != contents_->values.end()) is = stat_of(found->second).version;
  if (is != expected) return false;
  contents_->values[std::string(key)] = {std::make_shared<const Bytes>(bytes.begin(), bytes.end()),
                                         ++contents_->puts, contents_->now};
  return true;
}

void MemoryStore::get_range(std::string_view key, std::uint64_t offset, ByteSpan into) {
  const std::lock_guard lock(contents_->mutex);
  const auto value = value_of(key);
  if (offset > value.bytes->size() || into.size() > value.bytes->size() - offset)
    throw Error(ErrorCode::kDamaged, fmt::format("memory/{} ends before the range does", key));
  std::memcpy(into.data(), value.bytes->data() + offset, into.size());
}

Bytes MemoryStore::get(std::string_view key, std::uint64_t bytes_max, StoreStat* stat) {
  const std::lock_guard lock(contents_->mutex);
  const auto value = value_of(key);
  if (value.bytes->size() > bytes_max) throw Error(ErrorCode::kLimit, fmt::format("memory/{} is large", key));
  if (stat != nullptr) *stat = stat_of(value);
  return *value.bytes;
}

std::optional<StoreStat> MemoryStore::stat(std::string_view key) {
  const std::lock_guard lock(contents_->mutex);
  const auto found = contents_->values.find(key);
  if (found == contents_->values.end()) return std::nullopt;
  return stat_of(found->second);
}

void MemoryStore::list(std::string_view prefix,
                       const std::function<void(const std::string& key, std::uint64_t bytes)>& each) {
  std::vector<std::pair<std::string, std::uint64_t>> found;
  {
    const std::lock_guard lock(contents_->mutex);
    for (auto at = contents_->values.lower_bound(prefix);
         at != contents_->values.end() && at->first.starts_with(prefix); ++at) {
      found.emplace_back(at->first, at->second.bytes->size());
    }
  }
  for (const auto& [key, bytes] : found) each(key, bytes);
}

void MemoryStore::remove(std::string_view key) {
  const std::lock_guard lock(contents_->mutex);
  const auto found = contents_->values.find(key);
  if (found != contents_->values.end()) contents_->values.erase(found);
}

std::int64_t MemoryStore::now() {
  const std::lock_guard lock(contents_->mutex);
  return contents_->now;
}

std::string MemoryStore::local_path(std::string_view) { return {}; }

}  // namespace vmpack::test
