// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/file_facts.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/ingest/commit.hpp"
#include "libvmpack/ingest/file_contents.hpp"
#include "libvmpack/ingest/pipeline.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"

namespace vmpack {
namespace {

bool same_extents(const FileEntry& a, const FileEntry& b) {
  return std::ranges::equal(a.extents, b.extents, [](const FileExtent& x, const FileExtent& y) {
    return x.file_offset == y.file_offset && x.disk_offset == y.disk_offset && x.length == y.length;
  });
}

/// Whether the file's bytes, and how they are cut, are for certain the same.
bool is_untouched(const FileEntry& before, const FileEntry& now, std::span<const ByteRange> changed) {
  return before.type == now.type && before.mode == now.mode && before.size == now.size &&
         same_extents(before, now) && std::ranges::none_of(now.extents, [&](const FileExtent& extent) {
           return touches(changed, {extent.disk_offset, extent.length});
         });
}

/// The place among the manifest's volumes of each of the layout's.
std::vector<std::optional<std::uint32_t>> match_volumes(const Layout& layout,
                                                        std::span<const VolumeSummary> listed) {
  std::vector<std::optional<std::uint32_t>> places;
  for (const Volume& volume : layout.volumes) {
    const auto found = std::ranges::find_if(listed, [&](const VolumeSummary& summary) {
      return summary.offset == volume.range.offset && summary.name == volume.name;
    });
    places.emplace_back();
    if (found != listed.end()) places.back() = static_cast<std::uint32_t>(found - listed.begin());
  }
  return places;
}

/// Moves the layout's volumes to where the manifest has them.
Layout as_listed(const Layout& layout, std::span<const VolumeSummary> listed) {
  Layout sorted;
  sorted.image_bytes = layout.image_bytes;
  sorted.volumes.resize(listed.size());
  const auto places = match_volumes(layout, listed);
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i]) sorted.volumes[*places[i]] = layout.volumes[i];
  }
  return sorted;
}

/// Which parts of a plan belong to which file.
class FileParts {
 public:
  FileParts(const Layout& layout, const Plan& plan) {
    for (const Volume& volume : layout.volumes) has_parts_.emplace_back(volume.files.size());
    for (const Part& part : plan.parts) {
      if (part.file != Part::kNoFile) has_parts_[part.volume][part.file] = true;
    }
  }
  /// Whether an ingest would give the file a content at all.
  [[nodiscard]] bool has(std::uint32_t volume, std::size_t file) const { return has_parts_[volume][file]; }
  void drop(std::uint32_t volume, std::size_t file) { has_parts_[volume][file] = false; }

 private:
  std::vector<std::vector<bool>> has_parts_;
};

/// Takes over what the parent's table says of untouched files, and drops their parts.
void reuse(const ParentSnapshot& parent, const Layout& layout, std::span<const ByteRange> changed,
           std::span<const VolumeSummary> listed, FileParts& parts, FileContents& contents) {
  const auto table = file_table_of(*parent.repository, parent.snapshot, parent.manifest);
  if (!table) return;
  Store& store = parent.repository->store();
  const auto in_child = [&](std::uint32_t volume) -> std::optional<std::uint32_t> {
    if (volume >= parent.manifest.volumes.size()) return std::nullopt;
    const VolumeSummary& before = parent.manifest.volumes[volume];
    const auto found = std::ranges::find_if(listed, [&](const VolumeSummary& summary) {
      return summary.offset == before.offset && summary.name == before.name;
    });
    if (found == listed.end()) return std::nullopt;
    return static_cast<std::uint32_t>(found - listed.begin());
  };
  for_each_file(store, *Places::open(store, parent.snapshot), *table,
                [&](std::uint32_t parent_volume, const FileRecord& before) {
                  const auto volume = in_child(parent_volume);
                  if (!volume || !before.content) return;
                  const auto& files = layout.volumes[*volume].files;
                  const auto file = std::ranges::lower_bound(files, before.entry.path, {}, &FileEntry::path);
                  if (file == files.end() || file->path != before.entry.path) return;
                  const auto number = static_cast<std::uint32_t>(file - files.begin());
                  if (!parts.has(*volume, number) || !is_untouched(before.entry, *file, changed)) return;
                  contents.know(*volume, number, *before.content);
                  parts.drop(*volume, number);
                });
}

}  // namespace

std::uint64_t record_files(const ParentSnapshot& parent, const ChildResult& child, const Layout& layout,
                           Source& source, int level, Progress& progress) {
  const Repository& repository = *parent.repository;
  const SnapshotDigest& snapshot = child.ingest.snapshot;
  const std::vector<VolumeSummary>& listed = child.ingest.manifest.volumes;
  const Layout files = as_listed(layout, listed);
  Plan plan = make_plan(files, {}, {repository.parameters().whole_file_bytes_max});
  FileParts parts(files, plan);
  FileContents contents(files);
  reuse(parent, files, child.changed, listed, parts, contents);
  std::erase_if(plan.parts, [&](const Part& part) { return !parts.has(part.volume, part.file); });
  cut_plan(plan, source, repository.parameters(), "reading changed files", progress,
           [&](const Window& window) { contents.add(window); });

  const WriterSession session(repository);
  const auto index = ObjectIndex::open(repository, session.condemned_packs());
  Packer packer(repository, *index, nullptr, level);
  const FileTableRoot root = build_file_table_pages(contents.take_records(), packer);
  if (root.file_count == 0) return 0;
  packer.finish();
  const FileTableDigest table = put_file_table_root(repository.store(), root);
  add_to_places(repository, snapshot, child.ingest.manifest, packer.places());
  require_stored(repository.store(), packer.relied_on());
  put_file_table_note(repository, snapshot, table);
  session.confirm(keys_under(repository, snapshot));
  return root.file_count;
}

}  // namespace vmpack
