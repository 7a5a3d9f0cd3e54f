// SPDX-License-Identifier: Apache-2.0
// What an image's objects come to, with nothing stored: what `vmpack inspect` tells.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "libvmpack/base/object_class.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Objects and their bytes. Like a manifest's statistics, without zeros and without what lies behind files'
/// ends.
struct ClassSurvey {
  ClassStatistics all;
  ClassStatistics repeated;  ///< of all: whose bytes the image held already, further to the front
  ClassStatistics known;     ///< of all: whose bytes the repository holds
  ClassStatistics fresh;     ///< of all: neither, which is what an ingest would add, before compression
};

struct FileSurvey {
  std::uint64_t bytes = 0;        ///< of its content on the disk, zeros left out
  std::uint64_t fresh_bytes = 0;  ///< of those: neither met before on the image nor in the repository
};

using BytesByClass = std::array<std::uint64_t, kObjectClassCount>;

struct Survey {
  std::array<ClassSurvey, kObjectClassCount> classes{};
  std::uint64_t cell_bytes = 0;                ///< a power of two
  std::vector<BytesByClass> cells;             ///< what lies in each cell_bytes of the disk
  std::vector<std::vector<FileSurvey>> files;  ///< as the files of each of the layout's volumes
};

/// A survey has at most this many cells.
inline constexpr std::uint64_t kSurveyCellsMax = 1024;

/// Reads and cuts all of the image along the plan for `layout`. `repository` may be null: then nothing is
/// known. Objects are cut as it would cut them. Throws what reading the source or the object index throws.
[[nodiscard]] Survey survey(Source& source, const Layout& layout, const Repository* repository,
                            Progress& progress);

/// The sum over all classes.
[[nodiscard]] ClassSurvey total(const Survey& survey);

}  // namespace vmpack
