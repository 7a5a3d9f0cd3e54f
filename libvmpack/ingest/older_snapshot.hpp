// SPDX-License-Identifier: Apache-2.0
// An earlier snapshot that the image being packed is probably a later version of: new versions of its files
// are stored as what changed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/pack/frame.hpp"
#include "libvmpack/partition/plan.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The parent, where there is one; else the newest snapshot of the same name, else the newest of all. Opened
/// when first asked for something. A hint, as a layout is: what it suggests may be wrong, and costs only
/// bytes. Where there is none, or it cannot be read, it suggests nothing.
class OlderSnapshot {
 public:
  /// `layout` is that of the image being packed, and must outlive this.
  OlderSnapshot(std::shared_ptr<const Repository> repository, ReferenceName name, const Layout& layout)
      : repository_(std::move(repository)), name_(std::move(name)), layout_(layout) {}
  /// The parent; its frames come through `cache`.
  OlderSnapshot(std::shared_ptr<const Repository> repository, const SnapshotDigest& parent,
                std::shared_ptr<FrameCache> cache, const Layout& layout)
      : repository_(std::move(repository)), parent_(parent), cache_(std::move(cache)), layout_(layout) {}

  /// Frames, at most kDeltaBasesMax, that hold what the given bytes of a part were: in the file of the same
  /// path, or of the same path but for its version, at the same offset; of metadata, at the same place of the
  /// disk. One thread at a time.
  [[nodiscard]] std::vector<FrameDigest> frames_of(const Part& part, std::uint64_t part_offset,
                                                   std::uint64_t bytes);

  /// Those frames, read; in place of a delta frame, what it stands on. At most kDeltaBasesMax, none where
  /// they cannot be read. Any thread, after frames_of().
  [[nodiscard]] std::vector<FrameBase> bases(std::span<const FrameDigest> frames) const;

  /// Where a frame of bases() lies. Any thread.
  [[nodiscard]] FrameLocation place(const FrameDigest& base) const { return image_->place(base); }

 private:
  using Extents = std::vector<FileExtent>;

  void open();
  void load_files(const SnapshotDigest& snapshot, const Manifest& manifest);
  [[nodiscard]] const Extents* find_file(std::string_view path) const;

  std::shared_ptr<const Repository> repository_;
  ReferenceName name_;
  std::optional<SnapshotDigest> parent_;
  std::shared_ptr<FrameCache> cache_;  // null: one of its own
  const Layout& layout_;
  bool opened_ = false;
  std::shared_ptr<ImageReader> image_;  // null: suggests nothing
  std::unordered_map<std::string, Extents> files_;
  std::unordered_map<std::string, const Extents*> unversioned_;  // in files_
};

}  // namespace vmpack
