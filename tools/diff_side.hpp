// SPDX-License-Identifier: Apache-2.0
// What vmpack diff compares: a snapshot, or an image that was not ingested.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/inspect/os_facts.hpp"
#include "libvmpack/read/image_bytes.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/snapshot/volume_files.hpp"
#include "tools/image_options.hpp"

namespace vmpack::cli {

/// One of the two. What is asked for is found out then, and once; throws what that throws.
class DiffSide {
 public:
  DiffSide() = default;
  DiffSide(const DiffSide&) = delete;
  DiffSide& operator=(const DiffSide&) = delete;
  virtual ~DiffSide() = default;

  /// As the user gave it.
  [[nodiscard]] virtual const std::string& name() const = 0;
  /// nullopt for an image that was not ingested.
  [[nodiscard]] virtual std::optional<SnapshotDigest> snapshot() const = 0;
  [[nodiscard]] virtual const ImageBytes& bytes() = 0;
  [[nodiscard]] virtual const std::vector<VolumeSummary>& volumes() = 0;
  /// For each volume; nullopt where nothing is known of the image's files.
  [[nodiscard]] virtual const std::optional<std::vector<VolumeFiles>>& files() = 0;
  /// nullopt where the operating systems were not asked.
  [[nodiscard]] virtual std::optional<OsFacts> facts() = 0;
};

/// For each volume; throws kNotFound where nothing is known of the image's files.
[[nodiscard]] const std::vector<VolumeFiles>& known_files(DiffSide& side);

/// What both sides share.
struct DiffWorld {
  std::shared_ptr<const Repository> repository;  ///< null where none is named
  std::shared_ptr<FrameCache> cache;
  const ImageOptions& options;  ///< how an image is read; its `image` is not used
  Progress& progress;
};

/// A reference of the repository if `text` resolves to one, else an image: a path or an nbd:// URI. `world`
/// must outlive it.
[[nodiscard]] std::unique_ptr<DiffSide> open_side(const std::string& text, const DiffWorld& world);

}  // namespace vmpack::cli
