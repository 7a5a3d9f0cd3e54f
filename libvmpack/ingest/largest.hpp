// SPDX-License-Identifier: Apache-2.0
// Which files and folders of a volume take most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/ingest/survey.hpp"
#include "libvmpack/inspect/layout.hpp"

namespace vmpack {

struct SizedPath {
  std::string path;  ///< bytes as the file system has them
  std::uint64_t bytes = 0;

  friend bool operator==(const SizedPath&, const SizedPath&) = default;
};

/// What a file is measured by.
using FileMeasure = std::uint64_t FileSurvey::*;

// Both: at most `count`, the largest first, equal ones by path; none without bytes. `files` is the survey of
// the volume's files.
[[nodiscard]] std::vector<SizedPath> largest_files(const Volume& volume, std::span<const FileSurvey> files,
                                                   FileMeasure measure, std::size_t count);
/// Folders with all that lies below them. Not the root, which holds everything, and of folders that hold
/// nothing but one another only the innermost.
[[nodiscard]] std::vector<SizedPath> largest_folders(const Volume& volume, std::span<const FileSurvey> files,
                                                     FileMeasure measure, std::size_t count);

}  // namespace vmpack
