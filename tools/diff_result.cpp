// SPDX-License-Identifier: Apache-2.0
#include "tools/diff_result.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/read/image_diff.hpp"
#include "libvmpack/snapshot/volume_match.hpp"
#include "tools/guest_files.hpp"

namespace vmpack::cli {
namespace {

/// Pairs the volumes of two images, and their files.
class VolumePairing {
 public:
  VolumePairing(DiffSide& before, DiffSide& after)
      : before_(before), after_(after), old_files_(known_files(before)), new_files_(known_files(after)) {}

  std::vector<VolumePair> pair(FileResult& result) {
    const auto matches = match_volumes(before_.volumes(), after_.volumes());
    std::vector<bool> matched(before_.volumes().size());
    for (std::size_t i = 0; i < matches.size(); ++i) {
      if (matches[i]) matched[*matches[i]] = true;
      add(matches[i], i, result);
    }
    for (std::size_t i = 0; i < matched.size(); ++i) {
      if (!matched[i]) add(i, std::nullopt, result);
    }
    return std::move(pairs_);
  }

 private:
  void add(std::optional<std::size_t> before, std::optional<std::size_t> after, FileResult& result) {
    const VolumePairNames names{before ? &before_.volumes()[*before] : nullptr,
                                after ? &after_.volumes()[*after] : nullptr};
    VolumePair pair;
    if (before) pair.before = old_files_[*before];
    if (after) pair.after = new_files_[*after];
    const bool old_known = before && (names.before->inspected || !pair.before.pages.empty());
    const bool new_known = after && (names.after->inspected || !pair.after.pages.empty());
    if (before && after && old_known != new_known) {
      result.unknown.push_back(fmt::format("{}: could be read in {} only", describe(names.any()),
                                           printable((old_known ? before_ : after_).name())));
    } else if (old_known || new_known) {
      result.volumes.push_back(names);
      pairs_.push_back(std::move(pair));
    }
  }

  DiffSide& before_;
  DiffSide& after_;
  const std::vector<VolumeFiles>& old_files_;
  const std::vector<VolumeFiles>& new_files_;
  std::vector<VolumePair> pairs_;
};

OsFacts facts_of(DiffSide& side) {
  auto facts = side.facts();
  if (!facts) {
    throw Error(ErrorCode::kNotFound, fmt::format("the packages of {} are not known", printable(side.name())),
                "ingest it again without --no-os, and with --force");
  }
  return std::move(*facts);
}

}  // namespace

FileChangeCounts FileResult::counts() const {
  FileChangeCounts counts;
  for (const FileDifference& difference : diff.differences) {
    const FileChanges& changes = difference.changes;
    counts.added += difference.fate == FileFate::kAdded ? 1 : 0;
    counts.removed += difference.fate == FileFate::kRemoved ? 1 : 0;
    counts.moved += difference.fate == FileFate::kMoved ? 1 : 0;
    counts.content += changes.content ? 1 : 0;
    counts.type += changes.type ? 1 : 0;
    counts.mode += changes.mode ? 1 : 0;
    counts.owner += changes.owner ? 1 : 0;
  }
  return counts;
}

PackageResult::PackageResult(OsFacts old_facts, OsFacts new_facts)
    : before(std::move(old_facts)), after(std::move(new_facts)), systems(pair_packages(before, after)) {
  for (SystemPair& system : systems) {
    std::erase_if(system.packages,
                  [](const PackagePair& package) { return package.fate() == PackageFate::kSame; });
  }
}

bool PackageResult::differ() const {
  return std::ranges::any_of(systems, [](const SystemPair& system) {
    return system.before == nullptr || system.after == nullptr || !system.packages.empty();
  });
}

BlockResult find_block_differences(DiffSide& before, DiffSide& after, const DiffWorld& world) {
  BlockResult result;
  result.old_image_bytes = before.bytes().size;
  result.new_image_bytes = after.bytes().size;
  const auto old_snapshot = before.snapshot();
  const auto new_snapshot = after.snapshot();
  if (!old_snapshot || !new_snapshot) {
    result.ranges = diff_bytes(before.bytes(), after.bytes(), default_threads(), world.progress);
  } else if (*old_snapshot != *new_snapshot) {
    result.ranges = diff_images(world.repository, *old_snapshot, *new_snapshot, world.cache,
                                default_threads(), world.progress);
  }
  return result;
}

FileResult find_file_differences(DiffSide& before, DiffSide& after) {
  FileResult result;
  const std::vector<VolumePair> pairs = VolumePairing(before, after).pair(result);
  const SameBytes same_bytes = [&](const FileRecord& was, const FileRecord& is) {
    return same_content(before.bytes(), was.entry, after.bytes(), is.entry);
  };
  result.diff = diff_files(pairs, same_bytes, default_threads());
  return result;
}

std::unique_ptr<PackageResult> find_package_differences(DiffSide& before, DiffSide& after) {
  // A snapshot knows at once whether it knows; an image has to be asked for long.
  if (before.snapshot()) {
    OsFacts old_facts = facts_of(before);
    return std::make_unique<PackageResult>(std::move(old_facts), facts_of(after));
  }
  OsFacts new_facts = facts_of(after);
  return std::make_unique<PackageResult>(facts_of(before), std::move(new_facts));
}

std::string_view to_string(PackageFate fate) {
  switch (fate) {
    case PackageFate::kInstalled:
      return "installed";
    case PackageFate::kRemoved:
      return "removed";
    case PackageFate::kUpgraded:
      return "upgraded";
    case PackageFate::kDowngraded:
      return "downgraded";
    case PackageFate::kReplaced:
      return "replaced";
    case PackageFate::kSame:
      break;
  }
  return "same";
}

std::string_view to_string(FileFate fate) {
  switch (fate) {
    case FileFate::kAdded:
      return "added";
    case FileFate::kRemoved:
      return "removed";
    case FileFate::kMoved:
      return "moved";
    case FileFate::kChanged:
      break;
  }
  return "changed";
}

}  // namespace vmpack::cli
