// SPDX-License-Identifier: Apache-2.0
// What vmpack diff found out, before it is told.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/package_diff.hpp"
#include "libvmpack/snapshot/file_diff.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "tools/diff_side.hpp"

namespace vmpack::cli {

struct BlockResult {
  std::uint64_t old_image_bytes = 0;
  std::uint64_t new_image_bytes = 0;
  std::vector<ByteRange> ranges;

  [[nodiscard]] bool differ() const { return !ranges.empty() || old_image_bytes != new_image_bytes; }
};

/// A volume of either image; null where it is not in one.
struct VolumePairNames {
  const VolumeSummary* before = nullptr;
  const VolumeSummary* after = nullptr;

  [[nodiscard]] const VolumeSummary& any() const { return after != nullptr ? *after : *before; }
};

/// How many files each of these is true of; one file may count several times.
struct FileChangeCounts {
  std::uint64_t added = 0;
  std::uint64_t removed = 0;
  std::uint64_t moved = 0;
  std::uint64_t content = 0;  ///< of those in both, not moved
  std::uint64_t type = 0;
  std::uint64_t mode = 0;
  std::uint64_t owner = 0;
};

struct FileResult {
  std::vector<VolumePairNames> volumes;  ///< as the pairs of the differences count them
  std::vector<std::string> unknown;      ///< volumes whose files only one image tells of: why, for people
  FileDiff diff;

  [[nodiscard]] FileChangeCounts counts() const;
  [[nodiscard]] bool differ() const { return !diff.differences.empty(); }
};

struct PackageResult {
  OsFacts before;
  OsFacts after;
  std::vector<SystemPair> systems;  ///< points into both; packages that are the same are left out

  PackageResult(OsFacts old_facts, OsFacts new_facts);
  PackageResult(const PackageResult&) = delete;
  PackageResult& operator=(const PackageResult&) = delete;
  [[nodiscard]] bool differ() const;
};

[[nodiscard]] BlockResult find_block_differences(DiffSide& before, DiffSide& after, const DiffWorld& world);
/// Throws kNotFound when nothing is known of the files of one of them.
[[nodiscard]] FileResult find_file_differences(DiffSide& before, DiffSide& after);
/// Throws kNotFound when the operating systems of one of them were not asked.
[[nodiscard]] std::unique_ptr<PackageResult> find_package_differences(DiffSide& before, DiffSide& after);

/// Everything that was asked for.
struct DiffResult {
  std::string before;  ///< as the user named them
  std::string after;
  std::optional<SnapshotDigest> old_snapshot;
  std::optional<SnapshotDigest> new_snapshot;
  std::optional<BlockResult> blocks;
  std::optional<FileResult> files;
  std::string files_unknown;  ///< why there are none, where they were asked for
  std::unique_ptr<PackageResult> packages;
  std::string packages_unknown;

  [[nodiscard]] bool differ() const {
    return (blocks && blocks->differ()) || (files && files->differ()) || (packages && packages->differ());
  }
};

// Each way to tell it; all in UTF-8 that is safe to show.
void print_summary(const DiffResult& result, std::ostream& out);
void print_blocks(const BlockResult& blocks, std::ostream& out);
void print_files(const FileResult& files, std::ostream& out);
void print_packages(const PackageResult& packages, std::ostream& out);
void print_json(const DiffResult& result, std::ostream& out);

/// "installed", "upgraded", ...
[[nodiscard]] std::string_view to_string(PackageFate fate);
/// "added", "moved", ...
[[nodiscard]] std::string_view to_string(FileFate fate);

}  // namespace vmpack::cli
