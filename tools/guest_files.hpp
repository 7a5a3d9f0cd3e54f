// SPDX-License-Identifier: Apache-2.0
// Files inside an image, as commands name, find and show them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/file_table_reader.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/snapshot/volume_files.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {

/// A snapshot, opened to look into its files.
class SnapshotFiles {
 public:
  /// Throws kNotFound where nothing is known of the files of `reference`, whose snapshot that is.
  SnapshotFiles(const Repository& repository, const SnapshotDigest& snapshot, const std::string& reference);

  [[nodiscard]] const Manifest& manifest() const { return manifest_; }
  /// For each volume of the manifest; without pages where there are no files.
  [[nodiscard]] const std::vector<VolumeFiles>& volumes() const { return volumes_; }

 private:
  Manifest manifest_;
  std::unique_ptr<Places> places_;
  std::unique_ptr<FileTable> table_;
  std::vector<VolumeFiles> volumes_;
};

/// What people call a volume: its partition's number, or "group/volume".
[[nodiscard]] std::string volume_id(const VolumeSummary& volume);
/// "volume 2 (ext4, label root)", "the disk (xfs)".
[[nodiscard]] std::string describe(const VolumeSummary& volume);

/// Adds --volume.
CLI::Option* add_volume_option(CLI::App& command, std::string& volume);
/// Positions of the volumes with files that --volume leaves: of all of them, or the one it names; kInvalid
/// when there is no such one.
[[nodiscard]] std::vector<std::size_t> chosen_volumes(const std::vector<VolumeSummary>& volumes,
                                                      const std::vector<VolumeFiles>& files,
                                                      const std::string& volume);

/// A file, and the position of its volume.
struct FoundFile {
  std::size_t volume = 0;
  FileRecord file;
};
/// What `path` leads to on those of `among`. Throws what follow_path() threw when it is on none of them.
[[nodiscard]] std::vector<FoundFile> find_on_volumes(const std::vector<VolumeFiles>& files,
                                                     const std::vector<std::size_t>& among,
                                                     std::string_view path, bool follow_last);

/// The one file that `path` leads to, through symlinks; nullopt when there is none. Throws kInvalid when
/// several volumes have one and --volume chose none of them; `image` is what it is called.
[[nodiscard]] std::optional<FoundFile> find_one(const std::vector<VolumeSummary>& volumes,
                                                const std::vector<VolumeFiles>& files, std::string_view path,
                                                const std::string& volume, const std::string& image);

/// The same file with the extents of its content, if need be those of another hard link. Throws kUnsupported
/// saying why it has none, kInvalid for what is no regular file.
[[nodiscard]] FileEntry with_extents(const VolumeFiles& files, FileEntry file);

/// "file", "folder", ...: for programs and for people.
[[nodiscard]] std::string_view to_string(FileType type);
/// "-rw-r--r--".
[[nodiscard]] std::string mode_text(FileType type, std::uint16_t mode);
/// "0644".
[[nodiscard]] std::string octal_text(std::uint16_t mode);
[[nodiscard]] OrderedJson to_json(const FileRecord& file);

}  // namespace vmpack::cli
