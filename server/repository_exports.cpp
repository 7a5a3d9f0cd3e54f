// SPDX-License-Identifier: Apache-2.0
#include "server/repository_exports.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/repo/reference.hpp"

namespace vmpack {
namespace {

class SnapshotImage final : public Image {
 public:
  SnapshotImage(std::shared_ptr<ImageReader> reader, ServerMetrics& metrics)
      : reader_(std::move(reader)), metrics_(metrics) {}

  std::uint64_t size() const override { return reader_->size(); }
  void read(std::uint64_t offset, ByteSpan into) const override {
    count_damage([&] { reader_->read(offset, into); });
  }
  bool try_read(std::uint64_t offset, ByteSpan into) const override {
    return reader_->try_read(offset, into);
  }
  void pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const override {
    count_damage([&] { reader_->pieces(offset, length, pieces); });
  }
  bool try_pieces(std::uint64_t offset, std::uint64_t length,
                  std::vector<ImagePiece>& pieces) const override {
    return reader_->try_pieces(offset, length, pieces);
  }
  std::vector<AllocationRun> allocation(std::uint64_t offset, std::uint64_t length) const override {
    return reader_->allocation(offset, length);
  }
  void prefetch(std::uint64_t offset, std::uint64_t length) const override {
    reader_->prefetch(offset, length);
  }

 private:
  template <typename Read>
  void count_damage(Read read) const {
    try {
      read();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kDamaged) metrics_.count_damage();
      throw;
    }
  }

  std::shared_ptr<ImageReader> reader_;
  ServerMetrics& metrics_;
};

/// What to write behind `name@` where a name must never mean another image.
constexpr std::size_t kShortDigits = 16;

std::string fixed_name(const ReferenceName& name, const SnapshotDigest& snapshot) {
  return fmt::format("{}@{}", name.name, snapshot.hex().substr(0, kShortDigits));
}

}  // namespace

RepositoryExports::RepositoryExports(std::shared_ptr<const Repository> repository,
                                     std::shared_ptr<FrameCache> cache, ServerMetrics& metrics)
    : repository_(std::move(repository)), cache_(std::move(cache)), metrics_(metrics) {}

Export RepositoryExports::open(std::string_view name) {
  if (name.empty()) return only_reference();
  const auto parsed = parse_reference(name);
  if (const auto* reference = std::get_if<ReferenceName>(&parsed)) {
    const auto entry = repository_->find(*reference);
    if (!entry) throw Error(ErrorCode::kNotFound, fmt::format("there is no export {}", reference->text()));
    return make_export(*entry);
  }
  const SnapshotDigest snapshot = repository_->resolve(name);
  auto image = open_image(snapshot);
  auto description = format_bytes(image->size());
  return {.image = std::move(image),
          .name = fmt::format("{}@{}", std::get<DigestReference>(parsed).name, snapshot.hex()),
          .description = std::move(description),
          .by_digest = true,
          .snapshot = snapshot};
}

std::vector<ExportListing> RepositoryExports::list(std::size_t count_max) {
  std::vector<ExportListing> listings;
  for (const ReferenceEntry& entry : repository_->references()) {
    if (listings.size() == count_max) break;
    listings.push_back({entry.name.text(), fixed_name(entry.name, entry.snapshot)});
  }
  return listings;
}

std::vector<SnapshotDigest> RepositoryExports::in_use() {
  std::vector<SnapshotDigest> snapshots;
  const std::scoped_lock lock(mutex_);
  for (const auto& [snapshot, image] : images_) {
    if (!image.expired()) snapshots.push_back(snapshot);
  }
  std::ranges::sort(snapshots);
  return snapshots;
}

Export RepositoryExports::only_reference() {
  const auto references = repository_->references();
  if (references.size() != 1) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("the repository has {} references: name one", references.size()));
  }
  return make_export(references.front());
}

Export RepositoryExports::make_export(const ReferenceEntry& entry) {
  auto image = open_image(entry.snapshot);
  auto description =
      fmt::format("{}, {}", fixed_name(entry.name, entry.snapshot), format_bytes(image->size()));
  return {.image = std::move(image),
          .name = entry.name.text(),
          .description = std::move(description),
          .by_digest = false,
          .snapshot = entry.snapshot,
          .modified_seconds = entry.modified_seconds};
}

std::shared_ptr<const Image> RepositoryExports::open_image(const SnapshotDigest& snapshot) {
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = images_.find(snapshot); found != images_.end()) {
      if (auto image = found->second.lock()) return image;
    }
  }
  // Opened outside the lock, so that a slow store holds up nobody else. Two that open at once end up with one
  // image.
  std::shared_ptr<const Image> opened =
      std::make_shared<SnapshotImage>(ImageReader::open(repository_, snapshot, cache_), metrics_);
  const std::scoped_lock lock(mutex_);
  std::erase_if(images_, [](const auto& entry) { return entry.second.expired(); });
  auto& slot = images_[snapshot];
  if (auto image = slot.lock()) return image;
  slot = opened;
  return opened;
}

}  // namespace vmpack
