// SPDX-License-Identifier: Apache-2.0
// Images in memory that fail or wait where a test says so. Whatever works is tested on real repositories
// instead.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "server/export.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {

/// Random bytes, and zeros where `zeros` says so.
class FakeImage final : public Image {
 public:
  explicit FakeImage(std::size_t bytes, std::vector<ByteRange> zeros = {}) : content(random_bytes(7, bytes)) {
    for (const ByteRange& range : zeros) {
      std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, std::byte{0});
    }
  }

  std::uint64_t size() const override { return content.size(); }
  void read(std::uint64_t offset, ByteSpan into) const override {
    VMPACK_ASSERT(offset <= content.size() && into.size() <= content.size() - offset);
    if (before_read) before_read(offset);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }
  bool try_read(std::uint64_t offset, ByteSpan into) const override {
    VMPACK_ASSERT(offset <= content.size() && into.size() <= content.size() - offset);
    if (!in_memory || !in_memory(offset)) return false;
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return true;
  }
  void pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const override {
    Bytes copy(length);
    read(offset, copy);
    append_pieces(offset, length, pieces);
  }
  bool try_pieces(std::uint64_t offset, std::uint64_t length,
                  std::vector<ImagePiece>& pieces) const override {
    Bytes copy(length);
    if (!try_read(offset, copy)) return false;
    append_pieces(offset, length, pieces);
    return true;
  }
  std::vector<AllocationRun> allocation(std::uint64_t offset, std::uint64_t length) const override {
    VMPACK_ASSERT(offset <= content.size() && length <= content.size() - offset);
    std::vector<AllocationRun> runs;
    for (std::uint64_t at = offset; at < offset + length;) {
      const std::uint64_t step = std::min(kSectorBytes - at % kSectorBytes, offset + length - at);
      const bool zero = is_zero(ByteView(content).subspan(at, step));
      if (runs.empty() || runs.back().zero != zero) runs.push_back({0, zero});
      runs.back().length += step;
      at += step;
    }
    return runs;
  }
  void prefetch(std::uint64_t offset, std::uint64_t length) const override {
    VMPACK_ASSERT(offset <= content.size() && length <= content.size() - offset);
    prefetched_bytes += length;
  }

  Bytes content;
  std::function<bool(std::uint64_t offset)> in_memory;    ///< none: nothing is
  std::function<void(std::uint64_t offset)> before_read;  ///< may wait, or throw
  mutable std::atomic<std::uint64_t> prefetched_bytes = 0;

 private:
  /// As an image does: zeros where there are some, and frames of their own elsewhere.
  void append_pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const {
    std::uint64_t at = offset;
    for (const AllocationRun& run : allocation(offset, length)) {
      auto frame = std::make_shared<DecodedFrame>();
      const auto from = content.begin() + static_cast<std::ptrdiff_t>(at);
      frame->bytes.assign(from, from + static_cast<std::ptrdiff_t>(run.length));
      const std::byte* const data = frame->bytes.data();
      pieces.push_back(run.zero ? ImagePiece{nullptr, nullptr, run.length}
                                : ImagePiece{std::move(frame), data, run.length});
      at += run.length;
    }
  }
};

class FakeCatalog final : public ExportCatalog {
 public:
  Export open(std::string_view name) override {
    ++opened;
    if (before_open) before_open();
    const auto found = exports.find(std::string(name));
    if (found == exports.end()) throw Error(ErrorCode::kNotFound, "no such export");
    if (!found->second.image) throw Error(ErrorCode::kDamaged, "maps/ab/abcd.map is damaged");
    return found->second;
  }
  std::vector<ExportListing> list(std::size_t count_max) override {
    std::vector<ExportListing> listings;
    for (const auto& [name, exported] : exports) {
      if (listings.size() < count_max) listings.push_back({name, exported.description});
    }
    return listings;
  }
  std::vector<SnapshotDigest> in_use() override { return snapshots_in_use; }
  void add(const std::string& name, std::shared_ptr<const Image> image, bool by_digest = false) {
    exports[name] = {std::move(image), name, "a fake image", by_digest};
  }

  std::map<std::string, Export> exports;
  std::vector<SnapshotDigest> snapshots_in_use;
  std::atomic<int> opened = 0;
  std::function<void()> before_open;  ///< may wait
};

}  // namespace vmpack::test
