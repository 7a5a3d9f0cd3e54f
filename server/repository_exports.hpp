// SPDX-License-Identifier: Apache-2.0
// The references of a repository as exports. Every question goes to the repository, so that new references
// show at once.
#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "server/export.hpp"
#include "server/metrics.hpp"

namespace vmpack {

class RepositoryExports final : public ExportCatalog {
 public:
  /// `metrics` must outlive every image.
  RepositoryExports(std::shared_ptr<const Repository> repository, std::shared_ptr<FrameCache> cache,
                    ServerMetrics& metrics);

  Export open(std::string_view name) override;
  std::vector<ExportListing> list(std::size_t count_max) override;
  std::vector<SnapshotDigest> in_use() override;

 private:
  /// The snapshot's image, shared by everyone who has it open.
  std::shared_ptr<const Image> open_image(const SnapshotDigest& snapshot);
  Export only_reference();
  Export make_export(const ReferenceEntry& entry);

  std::shared_ptr<const Repository> repository_;
  std::shared_ptr<FrameCache> cache_;
  ServerMetrics& metrics_;
  std::mutex mutex_;
  std::unordered_map<SnapshotDigest, std::weak_ptr<const Image>, DigestHash> images_;
};

}  // namespace vmpack
