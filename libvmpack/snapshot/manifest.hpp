// SPDX-License-Identifier: Apache-2.0
// A snapshot's manifest: what it is, and the digests everything else hangs on. Format: formats/manifest.md.
// It holds no time and no name: the same image and repository give the same snapshot.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/discarded_bytes.hpp"
#include "libvmpack/base/object_class.hpp"

namespace vmpack {

/// A volume as the layout told it, without its files.
struct VolumeSummary {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint32_t number = 0;
  std::string type;
  std::string label;
  std::string uuid;
  bool inspected = false;
  std::uint64_t file_count = 0;
  std::uint64_t free_bytes = 0;
  std::string name;  ///< "group/volume" of a logical volume; empty otherwise
};

struct ClassStatistics {
  std::uint64_t objects = 0;  ///< all of the image, whether new to the repository or not
  std::uint64_t bytes = 0;
};

/// What a snapshot that was made from its parent changed of it.
struct ChangedBytes {
  std::uint64_t data = 0;    ///< that differ and were packed
  std::uint64_t zeroed = 0;  ///< that the parent has and now are zero
};

struct Manifest {
  std::uint64_t image_bytes = 0;
  /// Of the image, that are not zero blocks. With `changed`: the parent's, and what its block map has more.
  std::uint64_t data_bytes = 0;
  std::string source_format;  ///< "qcow2"
  std::string table;          ///< "gpt", "mbr" or empty
  std::vector<VolumeSummary> volumes;
  /// Of all of the image; with `changed`, of what changed.
  std::array<ClassStatistics, kObjectClassCount> classes{};
  std::optional<DiscardedBytes> discarded;  ///< where free space and swap were left out
  MapDigest map;
  std::optional<FileTableDigest> files;
  std::optional<SnapshotDigest> parent;
  std::optional<ChangedBytes> changed;  ///< where there is a parent
  std::map<std::string, std::string> labels;
};

/// "snapshots/<digest>.json".
[[nodiscard]] std::string manifest_key(const SnapshotDigest& snapshot);

/// The canonical text, whose SHA-256 is the snapshot's digest.
[[nodiscard]] std::string to_json(const Manifest& manifest);

/// Throws kDamaged, or kUnsupported for a later version or an unknown required feature.
[[nodiscard]] Manifest manifest_from_json(std::string_view text, std::string_view where);

}  // namespace vmpack
