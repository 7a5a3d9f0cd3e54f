// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/snapshot_source.hpp"

namespace vmpack {
namespace {

class SnapshotSource final : public Source {
 public:
  explicit SnapshotSource(std::shared_ptr<const ImageReader> image)
      : image_(std::move(image)), facts_{"snapshot", image_->snapshot().hex(), {}} {}

  [[nodiscard]] std::uint64_t size() const override { return image_->size(); }

  void read(std::uint64_t offset, ByteSpan into) override { image_->read(offset, into); }

  [[nodiscard]] std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) override {
    std::vector<ByteRange> ranges;
    for (const AllocationRun& run : image_->allocation(offset, length)) {
      if (!run.zero) ranges.push_back({offset, run.length});
      offset += run.length;
    }
    return ranges;
  }

  [[nodiscard]] const SourceFacts& facts() const override { return facts_; }
  [[nodiscard]] SourceAttachment attachment() const override { return {}; }

 private:
  std::shared_ptr<const ImageReader> image_;
  SourceFacts facts_;
};

}  // namespace

std::unique_ptr<Source> open_snapshot_source(std::shared_ptr<const Repository> repository,
                                             const SnapshotDigest& snapshot,
                                             std::shared_ptr<FrameCache> cache) {
  return std::make_unique<SnapshotSource>(
      ImageReader::open(std::move(repository), snapshot, std::move(cache)));
}

}  // namespace vmpack
