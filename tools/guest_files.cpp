// SPDX-License-Identifier: Apache-2.0
#include "tools/guest_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/repo/snapshot_files.hpp"

namespace vmpack::cli {

SnapshotFiles::SnapshotFiles(const Repository& repository, const SnapshotDigest& snapshot,
                             const std::string& reference)
    : manifest_(repository.manifest(snapshot)), volumes_(manifest_.volumes.size()) {
  const auto table = file_table_of(repository, snapshot, manifest_);
  if (!table) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("nothing is known of the files of {}", printable(reference)),
                "'vmpack show' tells which volumes could be inspected");
  }
  places_ = Places::open(repository.store(), snapshot);
  table_ = std::make_unique<FileTable>(repository.store(), *places_, *table);
  for (const FileTableVolume& volume : table_->volumes()) {
    if (volume.volume < volumes_.size()) volumes_[volume.volume] = table_->files(volume);
  }
}

std::string volume_id(const VolumeSummary& volume) {
  return volume.name.empty() ? std::to_string(volume.number) : volume.name;
}

std::string describe(const VolumeSummary& volume) {
  const bool is_disk = volume.name.empty() && volume.number == 0;
  std::string text = is_disk ? "the disk" : "volume " + volume_id(volume);
  text += " (" + (volume.type.empty() ? "unknown" : volume.type);
  if (!volume.label.empty()) text += ", label " + volume.label;
  return printable(text + ")");
}

CLI::Option* add_volume_option(CLI::App& command, std::string& volume) {
  return command
      .add_option("--volume", volume,
                  "Only this one: a partition's number, or GROUP/VOLUME (default: all with files)")
      ->type_name("V");
}

std::vector<std::size_t> chosen_volumes(const std::vector<VolumeSummary>& volumes,
                                        const std::vector<VolumeFiles>& files, const std::string& volume) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!files[i].pages.empty() && (volume.empty() || volume_id(volumes[i]) == volume)) chosen.push_back(i);
  }
  if (chosen.empty() && !volume.empty()) {
    throw Error(ErrorCode::kInvalid, fmt::format("there is no volume {} with files", printable(volume)),
                "'vmpack show' lists the volumes");
  }
  return chosen;
}

std::vector<FoundFile> find_on_volumes(const std::vector<VolumeFiles>& files,
                                       const std::vector<std::size_t>& among, std::string_view path,
                                       bool follow_last) {
  std::vector<FoundFile> found;
  std::exception_ptr nowhere;
  for (const std::size_t volume : among) {
    try {
      if (auto file = follow_path(files[volume], path, follow_last))
        found.push_back({volume, std::move(*file)});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      nowhere = std::current_exception();
    }
  }
  if (found.empty() && nowhere) std::rethrow_exception(nowhere);
  return found;
}

std::optional<FoundFile> find_one(const std::vector<VolumeSummary>& volumes,
                                  const std::vector<VolumeFiles>& files, std::string_view path,
                                  const std::string& volume, const std::string& image) {
  auto found = find_on_volumes(files, chosen_volumes(volumes, files, volume), path, true);
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return std::move(found.front());
  std::vector<std::string> ids;
  for (const FoundFile& file : found) ids.push_back(volume_id(volumes[file.volume]));
  throw Error(ErrorCode::kInvalid,
              fmt::format("{} is on several volumes of {}: {}", path, image, fmt::join(ids, ", ")),
              "choose one with --volume");
}

FileEntry with_extents(const VolumeFiles& files, FileEntry file) {
  if (file.type != FileType::kRegular) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is a {}", printable(file.path), to_string(file.type)));
  }
  if (!file.extents.empty() || file.size == 0) return file;
  if (auto linked = find_with_extents(files, file.inode); linked && linked->entry.size == file.size) {
    file.extents = std::move(linked->entry.extents);
    return file;
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("where the content of {} lies is not known: it is compressed or encrypted by its file "
                  "system, or kept in its inode, or all of it is a hole",
                  printable(file.path)),
      "read it in the guest, or from the image as 'vmpack restore' writes it");
}

std::string_view to_string(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return "file";
    case FileType::kDirectory:
      return "folder";
    case FileType::kSymlink:
      return "symlink";
    case FileType::kCharDevice:
      return "character device";
    case FileType::kBlockDevice:
      return "block device";
    case FileType::kFifo:
      return "fifo";
    case FileType::kSocket:
      return "socket";
    case FileType::kUnknown:
      break;
  }
  return "unknown";
}

std::string mode_text(FileType type, std::uint16_t mode) {
  constexpr std::string_view kTypes = "?-dlcbps";
  const auto number = static_cast<std::size_t>(type);
  std::string text(1, number < kTypes.size() ? kTypes[number] : '?');
  constexpr std::string_view kBits = "rwxrwxrwx";
  for (std::size_t i = 0; i < kBits.size(); ++i) text += (mode >> (8 - i) & 1) != 0 ? kBits[i] : '-';
  const auto special = [&](int bit, std::size_t at, char set) {
    if ((mode & bit) == 0) return;
    text[at] = static_cast<char>(text[at] == 'x' ? set : set - 'a' + 'A');
  };
  special(04000, 3, 's');
  special(02000, 6, 's');
  special(01000, 9, 't');
  return text;
}

std::string octal_text(std::uint16_t mode) { return fmt::format("{:04o}", mode); }

OrderedJson to_json(const FileRecord& file) {
  const FileEntry& entry = file.entry;
  OrderedJson json = {{"path", entry.path},
                      {"type", to_string(entry.type)},
                      {"mode", octal_text(entry.mode)},
                      {"uid", entry.uid},
                      {"gid", entry.gid},
                      {"bytes", entry.size},
                      {"modified_ns", entry.modified_ns}};
  if (entry.type == FileType::kSymlink) json["target"] = entry.target;
  if (file.content) json["content"] = file.content->hex();
  return json;
}

}  // namespace vmpack::cli
