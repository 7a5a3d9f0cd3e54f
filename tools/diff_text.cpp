// SPDX-License-Identifier: Apache-2.0
// vmpack diff for people.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/diff_result.hpp"
#include "tools/guest_files.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

constexpr std::size_t kPathsShown = 10;
constexpr std::size_t kPackagesShown = 20;

/// In the order in which they are told.
constexpr std::array kPackageFates{PackageFate::kUpgraded, PackageFate::kDowngraded, PackageFate::kReplaced,
                                   PackageFate::kInstalled, PackageFate::kRemoved};

/// "3 added, 1 removed" of what is not 0, or `none`.
std::string counts_text(const std::vector<std::pair<std::uint64_t, std::string_view>>& counts,
                        std::string_view none) {
  std::vector<std::string> parts;
  for (const auto& [count, what] : counts) {
    if (count > 0) parts.push_back(fmt::format("{} {}", format_count(count), what));
  }
  return parts.empty() ? std::string(none) : fmt::format("{}", fmt::join(parts, ", "));
}

std::string file_counts_text(const FileResult& files) {
  const FileChangeCounts counts = files.counts();
  return counts_text({{counts.content, "changed"},
                      {counts.added, "added"},
                      {counts.removed, "removed"},
                      {counts.moved, "moved"},
                      {counts.type, "of another type"},
                      {counts.mode, "with another mode"},
                      {counts.owner, "with another owner"},
                      {files.diff.retimed, "with another time alone"}},
                     "the same");
}

std::string package_counts_text(const std::vector<PackagePair>& packages) {
  std::vector<std::pair<std::uint64_t, std::string_view>> counts;
  for (const PackageFate fate : kPackageFates) {
    counts.emplace_back(std::ranges::count(packages, fate, &PackagePair::fate), to_string(fate));
  }
  return counts_text(counts, "the same");
}

/// "openssl 3.0.14-1 -> 3.0.15-1"; with the architecture where that tells packages of one name apart.
std::string package_text(const PackagePair& pair, bool tell_architecture) {
  std::string text = pair.name;
  if (tell_architecture) text += ":" + (pair.after ? pair.after : pair.before)->architecture;
  if (pair.before) text += " " + pair.before->version;
  if (pair.before && pair.after) text += " -> " + pair.after->version;
  if (pair.fate() == PackageFate::kReplaced)
    text += fmt::format(" ({} -> {})", pair.before->architecture, pair.after->architecture);
  if (!pair.before) text += " " + pair.after->version;
  return printable(text);
}

/// Prints up to `most` of them, by what happened to them.
void print_package_lines(const std::vector<PackagePair>& packages, std::size_t most, std::ostream& out) {
  std::size_t shown = 0;
  for (const PackageFate fate : kPackageFates) {
    for (std::size_t i = 0; i < packages.size(); ++i) {
      if (packages[i].fate() != fate) continue;
      if (shown++ == most) {
        out << fmt::format("  ... and {} more; --packages lists all\n", packages.size() - most);
        return;
      }
      const bool has_namesake = (i > 0 && packages[i - 1].name == packages[i].name) ||
                                (i + 1 < packages.size() && packages[i + 1].name == packages[i].name);
      out << fmt::format("  {:<10}  {}\n", to_string(fate), package_text(packages[i], has_namesake));
    }
  }
}

std::string name_of(const OperatingSystem& system) {
  return printable(system.product_name.empty() ? system.distribution : system.product_name);
}

/// "Debian GNU/Linux 12 (bookworm)", or both names where it became another; its root where there are several.
std::string system_text(const SystemPair& pair, bool several) {
  std::string text = pair.before == nullptr  ? "new system " + name_of(*pair.after)
                     : pair.after == nullptr ? "removed system " + name_of(*pair.before)
                                             : name_of(*pair.before);
  if (pair.before != nullptr && pair.after != nullptr && name_of(*pair.before) != name_of(*pair.after))
    text += " -> " + name_of(*pair.after);
  if (several) text += " on " + printable((pair.after != nullptr ? pair.after : pair.before)->root);
  return text;
}

std::string size_text(const FileDifference& difference) {
  const bool is_file = difference.entry().type == FileType::kRegular;
  if (!is_file || !difference.before || !difference.after) {
    return is_file ? format_bytes(difference.entry().size) : std::string(to_string(difference.entry().type));
  }
  const std::uint64_t was = difference.before->entry.size;
  const std::uint64_t is = difference.after->entry.size;
  if (was == is) return format_bytes(is);
  const std::string before = format_bytes(was);
  const std::string after = format_bytes(is);
  if (before != after) return fmt::format("{} -> {}", before, after);
  return is > was ? fmt::format("{}, {} more", after, format_bytes(is - was))
                  : fmt::format("{}, {} less", after, format_bytes(was - is));
}

/// What is not the same about a file that is in both.
std::string changes_text(const FileDifference& difference) {
  const FileEntry& was = difference.before->entry;
  const FileEntry& is = difference.after->entry;
  const FileChanges& changes = difference.changes;
  std::vector<std::string> parts;
  if (changes.type) parts.push_back(fmt::format("{} -> {}", to_string(was.type), to_string(is.type)));
  if (changes.content) {
    parts.push_back(is.type == FileType::kSymlink
                        ? fmt::format("leads to {}, not {}", printable(is.target), printable(was.target))
                        : size_text(difference));
    if (!changes.content_sure) parts.emplace_back("by its time");
  }
  if (changes.mode) parts.push_back(fmt::format("mode {} -> {}", octal_text(was.mode), octal_text(is.mode)));
  if (changes.owner) parts.push_back(fmt::format("owner {}:{} -> {}:{}", was.uid, was.gid, is.uid, is.gid));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string difference_text(const FileDifference& difference) {
  std::string path = printable(difference.entry().path);
  if (difference.fate == FileFate::kMoved)
    path = fmt::format("{} -> {}", printable(difference.before->entry.path), path);
  const std::string details = difference.before && difference.after ? changes_text(difference)
                              : difference.entry().type == FileType::kSymlink
                                  ? fmt::format("symlink to {}", printable(difference.entry().target))
                                  : size_text(difference);
  return details.empty() ? path : fmt::format("{}  ({})", path, details);
}

/// Content that is not where it was, at most.
std::uint64_t weight(const FileDifference& difference) {
  const bool content = difference.changes.content || !difference.before || !difference.after;
  if (!content || difference.entry().type != FileType::kRegular) return 0;
  return std::max(difference.before ? difference.before->entry.size : 0,
                  difference.after ? difference.after->entry.size : 0);
}

void print_largest(const FileResult& files, std::ostream& out) {
  std::vector<const FileDifference*> largest;
  for (const FileDifference& difference : files.diff.differences) {
    if (weight(difference) > 0) largest.push_back(&difference);
  }
  const std::size_t count = std::min(kPathsShown, largest.size());
  std::ranges::partial_sort(largest, largest.begin() + static_cast<std::ptrdiff_t>(count),
                            std::ranges::greater{},
                            [](const FileDifference* difference) { return weight(*difference); });
  largest.resize(count);
  for (const FileDifference* difference : largest) {
    out << fmt::format("  {:<8}  {}\n", to_string(difference->fate), difference_text(*difference));
  }
  if (files.diff.differences.size() > count)
    out << fmt::format("  ... the largest of {}; --files lists all\n",
                       format_count(files.diff.differences.size()));
}

std::string blocks_text(const BlockResult& blocks) {
  std::string text = blocks.ranges.empty()
                         ? "the same"
                         : fmt::format("{} differ, in {} ranges", format_bytes(total_bytes(blocks.ranges)),
                                       format_count(blocks.ranges.size()));
  if (blocks.old_image_bytes != blocks.new_image_bytes) {
    text += fmt::format("; the image has {}, not {}", format_bytes(blocks.new_image_bytes),
                        format_bytes(blocks.old_image_bytes));
  }
  return text;
}

/// Volumes that one image alone has, or that were made anew.
void print_volume_changes(const FileResult& files, std::ostream& out) {
  for (const VolumePairNames& pair : files.volumes) {
    const std::string name = describe(pair.any());
    if (pair.before == nullptr) {
      out << fmt::format("volumes   {} was added\n", name);
    } else if (pair.after == nullptr) {
      out << fmt::format("volumes   {} was removed\n", name);
    } else if (pair.before->uuid != pair.after->uuid) {
      out << fmt::format("volumes   {} has another UUID\n", name);
    }
  }
  for (const std::string& unknown : files.unknown) out << fmt::format("volumes   {}\n", unknown);
}

}  // namespace

void print_summary(const DiffResult& result, std::ostream& out) {
  out << fmt::format("{} -> {}\n", printable(result.before), printable(result.after));
  if (result.blocks) out << fmt::format("blocks    {}\n", blocks_text(*result.blocks));
  if (result.packages) {
    for (const SystemPair& system : result.packages->systems) {
      out << fmt::format("packages  {}: {}\n", system_text(system, result.packages->systems.size() > 1),
                         package_counts_text(system.packages));
      print_package_lines(system.packages, kPackagesShown, out);
    }
    if (result.packages->systems.empty()) out << "packages  no operating system in either\n";
  } else if (!result.packages_unknown.empty()) {
    out << fmt::format("packages  {}\n", result.packages_unknown);
  }
  if (result.files) {
    print_volume_changes(*result.files, out);
    out << fmt::format("files     {}\n", file_counts_text(*result.files));
    print_largest(*result.files, out);
  } else if (!result.files_unknown.empty()) {
    out << fmt::format("files     {}\n", result.files_unknown);
  }
}

void print_blocks(const BlockResult& blocks, std::ostream& out) {
  for (const ByteRange& range : blocks.ranges) out << fmt::format("{} {}\n", range.offset, range.length);
  out << fmt::format("total {} bytes in {} ranges\n", total_bytes(blocks.ranges), blocks.ranges.size());
}

void print_files(const FileResult& files, std::ostream& out) {
  std::size_t pair = SIZE_MAX;
  for (const FileDifference& difference : files.diff.differences) {
    if (difference.pair != pair && files.volumes.size() > 1) {
      out << describe(files.volumes[difference.pair].any()) << ":\n";
    }
    pair = difference.pair;
    out << fmt::format("{:<7}  {}\n", to_string(difference.fate), difference_text(difference));
  }
  for (const std::string& unknown : files.unknown) out << unknown << '\n';
  out << fmt::format("total: {}\n", file_counts_text(files));
}

void print_packages(const PackageResult& packages, std::ostream& out) {
  for (const SystemPair& system : packages.systems) {
    out << fmt::format("{}: {}\n", system_text(system, packages.systems.size() > 1),
                       package_counts_text(system.packages));
    print_package_lines(system.packages, system.packages.size(), out);
  }
}

}  // namespace vmpack::cli
